"""Serialize inbound records to the bytes to store, or fail with a record's error."""

from collections.abc import Iterable
from itertools import repeat
from operator import attrgetter

from django.conf import settings
from msgspec import UNSET, UnsetType

from producer.errors import RecordTooLarge, SerializationFailed
from producer.options import Options
from producer.pipeline.formats import FORMATS, from_base64, to_utf8
from producer.pipeline.inbound import Base64Text, Decoded, InboundHeader
from registry.avro_json import AvroMismatch, Budget, TooLarge
from topics.log.records import Header, Record

NULL = b"null"
_timestamp_of, _headers_of = attrgetter("timestamp"), attrgetter("headers")


class Serializer:
    """Serializes the records of one request. `accepted_ms` is the timestamp of records without one.

    The options must be resolved. Raises SchemaNotFound, InvalidSchema, RegistryUnavailable.
    """

    def __init__(self, options: Options, accepted_ms: int) -> None:
        self._most_bytes = settings.TAKHIN_MAX_RECORD_BYTES
        self._budget = Budget(self._most_bytes)
        self._to_key = FORMATS[options.key_format].compile(options.key_schema_id, self._budget)
        self._to_value = FORMATS[options.value_format].compile(options.value_schema_id, self._budget)
        self._all_keys = FORMATS[options.key_format].encode_all
        self._all_values = FORMATS[options.value_format].encode_all
        self._accepted_ms = accepted_ms
        self._trace: list[Header] = []
        if settings.TAKHIN_TRACE_HEADERS:
            self._trace = [(name, value.encode()) for name, value in options.trace]

    def serialize(self, decoded: Decoded, index: int, deadline: float) -> Record:
        """Serialize one record. Raises SerializationFailed, RecordTooLarge, and OutOfTime if the deadline passes."""
        self._budget.deadline = deadline
        inbound = decoded.records[index]
        part = "key"
        try:
            text = decoded.keys[index]
            key = None if text == NULL else self._to_key(text)
            part = "value"
            text = decoded.values[index]
            value = None if text == NULL else self._to_value(text)
        except AvroMismatch as error:
            raise SerializationFailed(str(error.within(part))) from None
        except TooLarge as error:
            raise RecordTooLarge(f"{part} {error} (TAKHIN_MAX_RECORD_BYTES)") from None
        except SerializationFailed as error:
            raise SerializationFailed(f"serialize {part}: {error}") from None
        headers = self._headers(inbound.headers)
        timestamp = inbound.timestamp if isinstance(inbound.timestamp, int) else self._accepted_ms
        record = Record(key, value, timestamp, headers)
        if record.size > self._most_bytes:
            raise RecordTooLarge(f"has {record.size} bytes; the limit is {self._most_bytes} (TAKHIN_MAX_RECORD_BYTES)")
        return record

    def serialize_all(self, decoded: Decoded) -> list[Record]:
        """Serialize all records at once, column by column, for formats without a schema.

        Raises SerializationFailed or RecordTooLarge if any record fails; `serialize` then tells which ones do, and why.
        """
        assert self._all_keys is not None
        assert self._all_values is not None
        keys, values = self._all_keys(decoded.keys), self._all_values(decoded.values)
        timestamps: Iterable[int] = repeat(self._accepted_ms)
        given = list(map(_timestamp_of, decoded.records))
        if given.count(UNSET) < len(given):
            timestamps = [one if isinstance(one, int) else self._accepted_ms for one in given]
        listed = list(map(_headers_of, decoded.records))
        has_headers = bool(self._trace) or any(listed)
        if has_headers:
            headers = list(map(self._headers, listed))
            made = list(map(Record, keys, values, timestamps, headers))
        else:
            made = list(map(Record, keys, values, timestamps))
        # Without a schema, no key or value is longer than its JSON text.
        may_exceed = has_headers or max(map(len, decoded.keys)) + max(map(len, decoded.values)) > self._most_bytes
        if may_exceed and any(record.size > self._most_bytes for record in made):
            raise RecordTooLarge("a record is too large")
        return made

    def _headers(self, given: list[InboundHeader] | UnsetType | None) -> list[Header]:
        """Return a record's headers, and those of the request's trace, unless the record has its own."""
        headers = [_header(header) for header in given] if given else []
        if self._trace and not any(name == "traceparent" for name, _ in headers):
            headers += self._trace
        return headers


def _header(header: InboundHeader) -> Header:
    try:
        if not header.key.isascii():
            to_utf8(header.key)
        if isinstance(header.value, Base64Text):
            return header.key, from_base64(header.value.base64)
        return header.key, to_utf8(header.value) if isinstance(header.value, str) else None
    except SerializationFailed as error:
        raise SerializationFailed(f"serialize header {header.key[:40]!r}: {error}") from None
