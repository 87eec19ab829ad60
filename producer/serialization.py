"""Turn an inbound record into the bytes to store, or into that record's own error."""

from django.conf import settings

from producer.decoding import Base64Text, InboundHeader, InboundRecord
from producer.errors import RecordTooLarge, SerializationFailed
from producer.formats import FORMATS, from_base64
from producer.options import Options
from topics.records import Header, Record


class Serializer:
    """Serializes the records of one request; `accepted_ms` is the timestamp of those that bring none."""

    def __init__(self, options: Options, accepted_ms: int) -> None:
        self._to_key = FORMATS[options.key_format]
        self._to_value = FORMATS[options.value_format]
        self._accepted_ms = accepted_ms
        self._most_bytes = settings.TAKHIN_MAX_RECORD_BYTES

    def serialize(self, inbound: InboundRecord) -> Record:
        """Raises SerializationFailed, RecordTooLarge."""
        part = "key"
        try:
            text = bytes(inbound.key)
            key = None if text == b"null" else self._to_key(text)
            part = "value"
            text = bytes(inbound.value)
            value = None if text == b"null" else self._to_value(text)
        except SerializationFailed as error:
            raise SerializationFailed(f"serialize {part}: {error}") from None
        headers = [_header(header) for header in inbound.headers] if inbound.headers else []
        timestamp = self._accepted_ms if inbound.timestamp is None else inbound.timestamp
        record = Record(key, value, timestamp, headers)
        if record.size > self._most_bytes:
            raise RecordTooLarge(f"has {record.size} bytes, more than {self._most_bytes} (TAKHIN_MAX_RECORD_BYTES)")
        return record


def _header(header: InboundHeader) -> Header:
    if isinstance(header.value, Base64Text):
        try:
            return header.key, from_base64(header.value.base64)
        except SerializationFailed as error:
            raise SerializationFailed(f"serialize header {header.key[:40]!r}: {error}") from None
    return header.key, None if header.value is None else header.value.encode()
