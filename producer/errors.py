"""The errors of produce requests.

RequestError                  the whole request; exceptions.py maps it to an HTTP status
├── InvalidBody
├── NoRecords
├── BodyTooLarge
├── TooManyRecords
├── UnsupportedContentEncoding
├── UnsupportedContentType
├── InvalidParameter
│   ├── UnsupportedFormat
│   ├── UnsupportedCompression
│   └── SchemaRequired
├── SchemaNotFound
├── InvalidSchema
├── RegistrationForbidden
├── SubjectNotAllowed
├── RegistryUnavailable
└── RequestNotFound
RecordError                   one record; becomes that record's RecordFailure
├── SerializationFailed
└── RecordTooLarge
"""

import msgspec


class RequestError(Exception):
    """`title` is the short text that API clients know, and `code` its stable slug."""

    code = "invalid_request"
    title = "invalid request"


class InvalidBody(RequestError):
    code = "invalid_request_body"
    title = "invalid request body"


class NoRecords(RequestError):
    code = "no_records"
    title = "no records to produce"


class BodyTooLarge(RequestError):
    code = "body_too_large"
    title = "request body too large"


class TooManyRecords(RequestError):
    code = "too_many_records"
    title = "too many records"


class UnsupportedContentEncoding(RequestError):
    code = "unsupported_content_encoding"

    def __init__(self, encoding: str, supported: str) -> None:
        self.title = f"unsupported content encoding: {encoding}"
        super().__init__(f"Content-Encoding {encoding!r} is not one of {supported}")


class UnsupportedContentType(RequestError):
    code = "unsupported_content_type"

    def __init__(self, content_type: str, supported: str) -> None:
        self.title = f"unsupported content type: {content_type}"
        super().__init__(f"Content-Type {content_type!r} is not one of {supported}")


class InvalidParameter(RequestError):
    code = "invalid_parameter"
    title = "invalid query parameter"


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

    def __init__(self, part: str, subject: str | None) -> None:
        self.title = f"{part}.schema required when {part}.format=avro"
        absent = f"there is no subject {subject!r}; " if subject is not None else ""
        super().__init__(f"{absent}add {part}.schema=SUBJECT or {part}.schema.id=ID to the query")


class SchemaNotFound(RequestError):
    code = "schema_not_found"
    title = "schema not found"


class InvalidSchema(RequestError):
    code = "invalid_schema"
    title = "invalid schema"


class RegistrationForbidden(RequestError):
    code = "registration_forbidden"
    title = "schema registration forbidden"

    def __init__(self, subject: str) -> None:
        super().__init__(
            f"this schema is not registered under {subject!r}; registering it requires an API key with the scope "
            "schemas, and a topic with registersSchemas=true"
        )


class SubjectNotAllowed(RequestError):
    code = "subject_not_allowed"

    def __init__(self, subject: str, topic: str | None) -> None:
        missing = f"topic {topic}" if topic is not None else "a topic pattern that matches the subject, or *"
        self.title = f"this API key may not use subject {subject}"
        super().__init__(f"this API key may not use subject {subject}: it lacks {missing}")


class RegistryUnavailable(RequestError):
    """The schema registry cannot be reached now."""

    code = "registry_unavailable"
    title = "schema registry unavailable"
    retriable = True


class RequestNotFound(RequestError):
    code = "request_not_found"
    title = "request not found"


class RecordFailure(msgspec.Struct, frozen=True, gc=False):
    """Why one record was not written; takes the record's place in `offsets`."""

    error: str
    code: str
    retriable: bool


class RecordError(Exception):
    """What is wrong with a record, in one sentence."""

    code = "invalid_record"
    retriable = False


class SerializationFailed(RecordError):
    code = "serialization_failed"


class RecordTooLarge(RecordError):
    code = "record_too_large"
