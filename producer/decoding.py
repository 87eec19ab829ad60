"""Turn a body into inbound records, leaving every key and value as the JSON text that was sent.

A wrong shape anywhere refuses the whole body, with the place and what was expected there. What can be wrong
with a record's content (base64, size, partition) is not judged here.
"""

import io
import json
import re
import threading
from typing import Annotated, TypeVar

import msgspec
from django.conf import settings

from producer.errors import InvalidBody, NoRecords, TooManyRecords

T = TypeVar("T")
NULL = msgspec.Raw(b"null")
Timestamp = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Base64Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A header's bytes: `{"base64": "…"}`."""

    base64: str


class InboundHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    key: str
    value: str | Base64Text | None = None


class InboundRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One record as sent; `key` and `value` are JSON text, `null` where absent."""

    # msgspec refuses `Raw | None`, so absent and null are both the text `null`.
    key: msgspec.Raw = NULL
    value: msgspec.Raw = NULL
    partition: int | None = None
    timestamp: Timestamp | None = None
    headers: list[InboundHeader] | None = None


class InlineSchemas(msgspec.Struct, frozen=True):
    """The schemas that a body brings along, as JSON text."""

    key: bytes | None = None
    value: bytes | None = None


class Decoded(msgspec.Struct, frozen=True):
    records: list[InboundRecord]
    schemas: InlineSchemas = InlineSchemas()


class _Schemas(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    key_schema: msgspec.Raw = NULL
    value_schema: msgspec.Raw = NULL


class _Envelope(_Schemas, forbid_unknown_fields=True, rename="camel"):
    records: list[InboundRecord] = []


class _Allowance(threading.local):
    """How many records more this thread's body may have."""

    left = 0


_allowance = _Allowance()


class _CountedRecord(InboundRecord, frozen=True, forbid_unknown_fields=True, gc=False):
    """A record of a body that may have too many: decoding ends with the first past the limit."""

    def __post_init__(self) -> None:
        _allowance.left -= 1
        if _allowance.left < 0:
            raise _too_many()


class _CountedEnvelope(_Schemas, forbid_unknown_fields=True, rename="camel"):
    records: list[_CountedRecord] = []


class _RawEnvelope(_Schemas, forbid_unknown_fields=True, rename="camel"):
    records: msgspec.Raw = msgspec.Raw()


_envelopes = msgspec.json.Decoder(_Envelope)
_counted_envelopes = msgspec.json.Decoder(_CountedEnvelope)
_raw_envelopes = msgspec.json.Decoder(_RawEnvelope)
_records = msgspec.json.Decoder(InboundRecord)
_one_member = re.compile(rb"\s*\{\s*\"[^\"]*\"\s*:\s*")
_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
_strings = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def decode(body: bytes, ndjson: bool) -> Decoded:
    """The body's records, in order, and its inline schemas. Raises InvalidBody, NoRecords, TooManyRecords."""
    try:
        # msgspec does not look inside the values it skips.
        str(body, "utf-8")
    except UnicodeDecodeError as error:
        raise InvalidBody(f"the body is not UTF-8: byte {error.start} is {body[error.start]:#04x}") from None
    decoded = Decoded(_decode_lines(body)) if ndjson else _decode_envelope(body)
    if not decoded.records:
        raise NoRecords("the body has no records; send at least one")
    return decoded


def _decode_envelope(body: bytes) -> Decoded:
    if not body.strip():
        raise InvalidBody('the body is empty; expected {"records": [...]}')
    envelope = _decode_members(body)
    schemas = InlineSchemas(_inline("key", envelope.key_schema), _inline("value", envelope.value_schema))
    if schemas != InlineSchemas():
        _refuse_any_repeated_member(body)
    # Escapes can hide a second member of the same name.
    elif body.count(b'"records"') != 1 or b"\\u00" in body:
        _refuse_repeated_member(body)
    for index, record in enumerate(envelope.records):
        excess = _excess(record)
        if excess:
            raise InvalidBody(f"$.records[{index}]{excess}")
    return Decoded(list(envelope.records), schemas)


def _decode_members(body: bytes) -> _Envelope | _CountedEnvelope:
    # Counting costs a call for each record. There are no more records than opening braces.
    if body.count(b"{") <= settings.TAKHIN_MAX_RECORDS:
        return _located(_envelopes, body, "")
    _allowance.left = settings.TAKHIN_MAX_RECORDS
    return _located(_counted_envelopes, body, "")


def _inline(part: str, raw: msgspec.Raw) -> bytes | None:
    text = bytes(raw)
    if _is_deeper(text, settings.TAKHIN_MAX_NESTING):
        raise InvalidBody(f"$.{part}Schema: nested deeper than {settings.TAKHIN_MAX_NESTING} levels")
    return None if text == b"null" else text


def _refuse_any_repeated_member(body: bytes) -> None:
    """The same for a body with inline schemas, which is rare enough to be read twice."""
    names = [name for name, _ in json.loads(body, object_pairs_hook=list)]
    if len(names) != len(set(names)):
        raise InvalidBody("$: a member stands more than once")


def _refuse_repeated_member(body: bytes) -> None:
    """Raise InvalidBody unless `records` stands once: a JSON decoder would silently keep the last."""
    last = bytes(_raw_envelopes.decode(body).records)
    if last and not _one_member.fullmatch(body[: body.rindex(last)]):
        raise InvalidBody("$: the member records stands more than once")


def _decode_lines(body: bytes) -> list[InboundRecord]:
    records: list[InboundRecord] = []
    # Line by line, for a list of them all may be many times the body.
    for number, line in enumerate(io.BytesIO(body), 1):
        if not line.strip():
            continue
        if len(records) == settings.TAKHIN_MAX_RECORDS:
            raise _too_many()
        record = _located(_records, line, f"line {number}: ")
        excess = _excess(record)
        if excess:
            raise InvalidBody(f"line {number}: ${excess}")
        records.append(record)
    return records


def _located(decoder: "msgspec.json.Decoder[T]", text: bytes, where: str) -> T:
    try:
        return decoder.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidBody(where + _in_our_words(str(error))) from None
    except RecursionError:
        raise InvalidBody(f"{where}nested deeper than {settings.TAKHIN_MAX_NESTING} levels") from None


def _in_our_words(message: str) -> str:
    """`$.records[1].partition: expected int, got str` from msgspec's own wording."""
    message = message.replace("`", "").replace(" | null", "")
    if message == "Input data was truncated":
        return "the JSON text ends too early, or holds half of a surrogate pair"
    if message.startswith("JSON is malformed"):
        return message
    what, found, place = message.rpartition(" - at ")
    if not found:
        what, place = message, "$"
    return f"{place}: {what[:1].lower()}{what[1:]}"


def _too_many() -> TooManyRecords:
    return TooManyRecords(f"a request may have at most {settings.TAKHIN_MAX_RECORDS} records (TAKHIN_MAX_RECORDS)")


def _excess(record: InboundRecord) -> str:
    """The place and the limit that a record passes; empty for nearly every record."""
    nesting, most_headers = settings.TAKHIN_MAX_NESTING, settings.TAKHIN_MAX_HEADERS
    if record.headers is not None and len(record.headers) > most_headers:
        return f".headers: expected at most {most_headers} headers, got {len(record.headers)}"
    if _is_deeper(bytes(record.key), nesting):
        return f".key: nested deeper than {nesting} levels"
    if _is_deeper(bytes(record.value), nesting):
        return f".value: nested deeper than {nesting} levels"
    return ""


def _is_deeper(text: bytes, nesting: int) -> bool:
    # Every level takes two brackets, and no text is deeper than its opening ones are many: this settles nearly all.
    if len(text) <= 2 * nesting or text.count(b"{") + text.count(b"[") <= nesting:
        return False
    # Each pass takes away the innermost level everywhere, at the speed of C.
    brackets = _strings.sub(b"", text).translate(_SQUARE, _NO_BRACKETS)
    for _ in range(nesting):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)
