"""Turn the JSON text of a key or value into the bytes to store."""

import base64
import binascii
from collections.abc import Callable

import msgspec

from producer.errors import SerializationFailed
from registry import framing
from registry.avro_json import Budget

NAMES = {b"{": "an object", b"[": "an array", b'"': "a string", b"t": "a boolean", b"f": "a boolean"}

NULL = b"null"
HALF_A_PAIR = "the text contains an unpaired surrogate, which UTF-8 cannot encode"


def kind(text: bytes) -> str:
    """Return the kind of a JSON text for a message, such as `an object` or `a number`."""
    return NAMES.get(text[:1], "a number")


def to_json(text: bytes) -> bytes:
    """Return the text itself: spacing, order and every digit as the client sent them."""
    return text


def to_string(text: bytes) -> bytes:
    """Encode a string's characters in UTF-8, or a number or boolean as its JSON text."""
    if text[:1] == b'"':
        return _characters(text).encode()
    if text[:1] in b"{[":
        raise SerializationFailed(f"expected a string, a number or a boolean, got {kind(text)}")
    return text


def to_binary(text: bytes) -> bytes:
    """Decode a string of standard, padded base64 (RFC 4648, section 4)."""
    if text[:1] != b'"':
        raise SerializationFailed(f"expected a base64 string, got {kind(text)}")
    return from_base64(_characters(text))


def _characters(text: bytes) -> str:
    """Decode a JSON string. Raises SerializationFailed."""
    try:
        return msgspec.json.decode(text, type=str)
    except msgspec.DecodeError:
        raise SerializationFailed(HALF_A_PAIR) from None


def to_utf8(text: str) -> bytes:
    """Raises SerializationFailed."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise SerializationFailed(HALF_A_PAIR) from None


def from_base64(text: str) -> bytes:
    """Decode canonical base64 (RFC 4648, section 3.5). Raises SerializationFailed for any other text."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = None
    if data is None or (text.endswith("=") and base64.b64encode(data[len(data) // 3 * 3 :]) != text[-4:].encode()):
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        raise SerializationFailed(f"{shown!r} is not standard base64")
    return data


Column = list[bytes | None]


class Format(msgspec.Struct, frozen=True):
    """A format of keys or values. `compile` gets the schema's id and the budget of the request's records.

    It returns the function from the JSON text to bytes, which raises SerializationFailed, AvroMismatch and TooLarge.
    For a format without a schema, `encode_all` does the same for many texts, and for null.
    """

    name: str
    compile: Callable[[int | None, Budget], Callable[[bytes], bytes]]
    needs_schema: bool = False
    encode_all: Callable[[list[bytes]], Column] | None = None


def _without_schema(
    name: str, encode: Callable[[bytes], bytes], encode_all: Callable[[list[bytes]], Column] | None = None
) -> Format:
    def one_by_one(texts: list[bytes]) -> Column:
        return [None if text == NULL else encode(text) for text in texts]

    return Format(name, lambda schema_id, budget: encode, encode_all=encode_all or one_by_one)


def _all_json(texts: list[bytes]) -> Column:
    return [None if text == NULL else text for text in texts]


def _all_strings(texts: list[bytes]) -> Column:
    # Most strings have no escapes, and take no call.
    return [
        text[1:-1] if text[:1] == b'"' and b"\\" not in text else None if text == NULL else to_string(text)
        for text in texts
    ]


FORMATS = {
    made.name: made
    for made in (
        _without_schema("json", to_json, _all_json),
        _without_schema("string", to_string, _all_strings),
        _without_schema("binary", to_binary),
        Format(framing.FORMAT, framing.encoder, needs_schema=True),
    )
}
# The formats that need a schema, for messages.
WITH_SCHEMA = " or ".join(name for name, made in FORMATS.items() if made.needs_schema)
