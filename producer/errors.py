"""The errors of produce requests, besides those that every endpoint has.

RequestError                  the whole request
├── NoRecords
├── TooManyRecords
├── TooManyTopics
├── InvalidParameter
│   ├── UnsupportedFormat
│   ├── UnsupportedCompression
│   └── SchemaRequired
├── RegistrationForbidden
├── RequestNotFound
│   └── RequestPurged
├── InvalidIdempotencyKey
├── IdempotencyKeyReused
├── IdempotencyKeyInUse
├── QuotaExceeded
└── Overloaded
RecordError                   one record; becomes that record's RecordFailure
├── SerializationFailed
└── RecordTooLarge
"""

from datetime import datetime, timedelta

import msgspec

from core.api.errors import InvalidParameter, RequestError
from core.formatting import length


class NoRecords(RequestError):
    code = "no_records"
    title = "no records to produce"


class TooManyRecords(RequestError):
    code = "too_many_records"
    title = "too many records"


class TooManyTopics(RequestError):
    code = "too_many_topics"
    title = "too many topics"


class UnsupportedFormat(InvalidParameter):
    code = "unsupported_format"

    def __init__(self, parameter: str, name: str, supported: str) -> None:
        self.title = f"unsupported format: {name}"
        super().__init__(f"{parameter} must be one of {supported}, got {name!r}")


class UnsupportedCompression(InvalidParameter):
    code = "unsupported_compression"

    def __init__(self, name: str, supported: str) -> None:
        self.title = f"unsupported compression: {name}"
        super().__init__(f"compression must be one of {supported}, got {name!r}")


class SchemaRequired(InvalidParameter):
    code = "schema_required"

    def __init__(self, part: str, name: str, subject: str | None) -> None:
        self.title = f"{part}.schema required when {part}.format={name}"
        absent = f"there is no subject {subject!r}; " if subject is not None else ""
        super().__init__(f"{absent}add {part}.schema=SUBJECT or {part}.schema.id=ID to the query")


class RegistrationForbidden(RequestError):
    code = "registration_forbidden"
    title = "schema registration forbidden"

    def __init__(self, subject: str) -> None:
        super().__init__(
            f"this schema is not registered under {subject!r}; registering it requires an API key with the scope "
            "schemas, and a topic with registersSchemas=true"
        )


class RequestNotFound(RequestError):
    code = "request_not_found"
    title = "request not found"


class RequestPurged(RequestNotFound):
    """The request's id tells when it was created."""

    code = "request_purged"
    title = "request purged"

    def __init__(self, request_id: str, created_at: datetime, kept: timedelta, failures_kept: timedelta) -> None:
        super().__init__(
            f"request {request_id} was created {created_at:%Y-%m-%d %H:%M:%S} UTC and has been purged; finished "
            f"requests are kept for {length(kept)}, and async requests with failed records for {length(failures_kept)}"
        )
        self.members = {"createdAt": created_at}


class InvalidIdempotencyKey(RequestError):
    code = "invalid_idempotency_key"
    title = "invalid Idempotency-Key"


class IdempotencyKeyReused(RequestError):
    code = "idempotency_key_reused"
    title = "Idempotency-Key was used for another request"

    def __init__(self) -> None:
        super().__init__(
            "this Idempotency-Key was used with another method, path, query or body; use a new key for each new request"
        )


class IdempotencyKeyInUse(RequestError):
    code = "idempotency_key_in_use"
    title = "a request with this Idempotency-Key is still running"
    retriable = True

    def __init__(self) -> None:
        super().__init__("the first request with this Idempotency-Key is not finished; try again to get its result")


class QuotaExceeded(RequestError):
    """`headers` are those of the response."""

    code = "quota_exceeded"
    title = "quota exceeded"
    retriable = True

    def __init__(self, unit: str, limit: int, headers: dict[str, str]) -> None:
        super().__init__(f"this API key may send {limit} {unit} per second")
        self.headers = headers


class Overloaded(RequestError):
    """The server has no room for the request. Nothing was written."""

    code = "overloaded"
    title = "overloaded"
    retriable = True


class RecordFailure(msgspec.Struct, frozen=True, gc=False):
    """Why one record was not written; takes the record's place in `offsets`.

    `topic` is set in requests to several topics.
    """

    error: str
    code: str
    retriable: bool
    topic: str | msgspec.UnsetType = msgspec.UNSET


class RecordError(Exception):
    """What is wrong with a record, in one sentence."""

    code = "invalid_record"
    retriable = False


class SerializationFailed(RecordError):
    code = "serialization_failed"


class RecordTooLarge(RecordError):
    code = "record_too_large"
