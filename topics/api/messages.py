"""Turn stored records into the messages that the API returns."""

import base64
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from topics.decoders import Decoder, Undecoded
from topics.log.records import StoredRecord


class Message(msgspec.Struct, gc=False):
    """A record as the API returns it. The last fields are there only if a key or value is decoded."""

    partition: int
    offset: int
    timestamp: int
    key: str | None
    value: str | None
    headers: list[dict[str, Any]]
    keyEncoding: str
    valueEncoding: str
    keySchemaId: int | UnsetType = UNSET
    valueSchemaId: int | UnsetType = UNSET
    keyDecodeError: str | UnsetType = UNSET
    valueDecodeError: str | UnsetType = UNSET


def message(record: StoredRecord, decoder: Decoder | None) -> Message:
    key, key_encoding = as_text(record.key)
    value, value_encoding = as_text(record.value)
    headers = [{"key": name, "value": _header_value(content)} for name, content in record.headers]
    shown = Message(
        record.partition, record.offset, record.timestamp, key, value, headers, key_encoding, value_encoding
    )
    if decoder is not None:
        for part, data in (("key", record.key), ("value", record.value)):
            if data is not None:
                for name, found in _decoded(part, data, decoder).items():
                    setattr(shown, name, found)
    return shown


def _decoded(part: str, data: bytes, decoder: Decoder) -> dict[str, Any]:
    """Return the fields that replace or supplement those of an undecoded key or value."""
    try:
        decoded = decoder.decode(data)
    except Undecoded as error:
        return {f"{part}DecodeError": str(error)}
    if decoded is None:
        return {}
    return {part: decoded.text, f"{part}Encoding": decoded.format, f"{part}SchemaId": decoded.schema_id}


def as_text(data: bytes | None) -> tuple[str | None, str]:
    """Return bytes as text with the encoding used: `utf-8` if possible, otherwise `base64`."""
    if data is None:
        return None, "utf-8"
    try:
        return data.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(data).decode(), "base64"


def _header_value(content: bytes | None) -> Any:
    text, encoding = as_text(content)
    return text if encoding == "utf-8" else {"base64": text}
