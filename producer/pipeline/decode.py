"""Turn a body into inbound records, keeping every key and value as the JSON text that was sent.

An invalid structure anywhere rejects the whole body, with the place and what was expected there. The contents of
records (base64, size, partition, unpaired surrogates) are not checked here.
"""

import io
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import Annotated, Generic, TypeVar

import msgspec
from django.conf import settings
from msgspec import UNSET, UnsetType

from core import json_text, lane
from core.api.errors import InvalidBody
from core.json_text import InvalidJson
from core.nesting import is_deeper
from producer.errors import NoRecords, TooManyRecords
from producer.pipeline import surrogates
from producer.pipeline.surrogates import Hidden

R = TypeVar("R")
NULL = msgspec.Raw(b"null")
Timestamp = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
EXAMPLE = '{"records": [{"key": "k", "value": 1}]}'
LINE_EXAMPLE = 'one record per line, such as {"key": "k", "value": 1}'
# Where to look for repeated field names. The contents of a key or value are not checked.
RECORD: json_text.Shape = {"headers": [{"value": {}}]}
ENVELOPE: json_text.Shape = {"records": [RECORD]}


class Base64Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A header's bytes: `{"base64": "…"}`."""

    base64: str


class InboundHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    key: str
    value: str | Base64Text | UnsetType | None = UNSET


class InboundRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One record as sent. `key` and `value` are JSON text, `null` if absent.

    An absent field is UNSET and a null one is None, so a record has exactly the fields that were sent.
    """

    # msgspec rejects `Raw | None`, so absent and null are both the text `null`.
    key: msgspec.Raw = NULL
    value: msgspec.Raw = NULL
    partition: int | UnsetType | None = UNSET
    timestamp: Timestamp | UnsetType | None = UNSET
    headers: list[InboundHeader] | UnsetType | None = UNSET


class InlineSchemas(msgspec.Struct, frozen=True):
    """The schemas in a body, as JSON text."""

    key: bytes | None = None
    value: bytes | None = None


_key_of, _value_of, _headers_of = attrgetter("key"), attrgetter("value"), attrgetter("headers")
NO_SCHEMAS = InlineSchemas()


class Decoded(msgspec.Struct, frozen=True):
    """The records of a body, with the JSON texts of their keys and values as columns."""

    records: list[InboundRecord]
    keys: list[bytes]
    values: list[bytes]
    schemas: InlineSchemas = NO_SCHEMAS


def _decoded(records: list[InboundRecord], schemas: InlineSchemas = NO_SCHEMAS) -> Decoded:
    keys, values = list(map(bytes, map(_key_of, records))), list(map(bytes, map(_value_of, records)))
    return Decoded(records, keys, values, schemas)


class _Envelope(msgspec.Struct, Generic[R], forbid_unknown_fields=True, omit_defaults=True):
    records: list[R] | UnsetType = UNSET
    keySchema: msgspec.Raw = NULL
    valueSchema: msgspec.Raw = NULL


class _Allowance(threading.local):
    """How many more records this thread's body may have."""

    left = 0


_allowance = _Allowance()


class _CountedRecord(InboundRecord, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A record of a body that may have too many. Decoding stops at the first one past the limit."""

    def __post_init__(self) -> None:
        _allowance.left -= 1
        if _allowance.left < 0:
            raise _too_many()


_envelopes = msgspec.json.Decoder(_Envelope[InboundRecord])
_counted_envelopes = msgspec.json.Decoder(_Envelope[_CountedRecord])
_records = msgspec.json.Decoder(InboundRecord)
_blank = re.compile(rb"\s*")


def envelope(body: bytes) -> Decoded:
    """Return the records, in order, and the inline schemas of a JSON object in UTF-8.

    Raises InvalidBody, NoRecords, TooManyRecords.
    """
    return _decode(_read_envelope, body)


def lines(body: bytes) -> Decoded:
    """Return the records of newline-delimited JSON in UTF-8. Raises InvalidBody, NoRecords, TooManyRecords."""
    return _decode(_read_lines, body)


def _decode(read: Callable[[bytes], Decoded], body: bytes) -> Decoded:
    try:
        decoded = read(body)
    except InvalidJson as error:
        # To say what is wrong may take long, and so do unpaired surrogates.
        lane.leave()
        hidden = surrogates.hide(body)
        if hidden is None:
            raise InvalidBody(str(error)) from None
        decoded = _read_hidden(read, hidden)
    if not decoded.records:
        raise NoRecords("the body has no records; send at least one")
    return decoded


def _read_hidden(read: Callable[[bytes], Decoded], hidden: Hidden) -> Decoded:
    """Decode a body with unpaired surrogates. They fail only their own record, or none: `json` stores them as sent."""
    try:
        decoded = read(hidden.text)
    except InvalidJson as error:
        raise InvalidBody(hidden.restore_words(str(error))) from None
    for part, schema in (("key", decoded.schemas.key), ("value", decoded.schemas.value)):
        if schema is not None and hidden.marker in schema:
            raise InvalidBody(f"$.{part}Schema: contains an unpaired surrogate")
    return _decoded([_restored(record, hidden) for record in decoded.records], decoded.schemas)


def _restored(record: InboundRecord, hidden: Hidden) -> InboundRecord:
    key, value = (msgspec.Raw(hidden.restore(bytes(raw))) for raw in (record.key, record.value))
    headers = [_restored_header(header, hidden) for header in record.headers] if record.headers else record.headers
    return msgspec.structs.replace(record, key=key, value=value, headers=headers)


def _restored_header(header: InboundHeader, hidden: Hidden) -> InboundHeader:
    value = header.value
    if isinstance(value, str):
        value = hidden.restore_string(value)
    elif isinstance(value, Base64Text):
        value = Base64Text(hidden.restore_string(value.base64))
    return InboundHeader(hidden.restore_string(header.key), value)


def _read_envelope(body: bytes) -> Decoded:
    if not body.strip():
        raise InvalidJson('the body is empty; expected {"records": [...]}')
    try:
        envelope = _parse_envelope(body)
    except InvalidJson as error:
        raise InvalidJson(_expecting(EXAMPLE, error)) from None
    json_text.check_fields(body, envelope, ENVELOPE)
    schemas = InlineSchemas(_inline("key", envelope.keySchema), _inline("value", envelope.valueSchema))
    decoded = _decoded([] if envelope.records is UNSET else list(envelope.records), schemas)
    for index, excess in _excesses(decoded):
        raise InvalidJson(f"$.records[{index}]{excess}")
    return decoded


def _parse_envelope(body: bytes) -> "_Envelope[InboundRecord] | _Envelope[_CountedRecord]":
    # Counting takes a call per record. A body has no more records than opening braces.
    if body.count(b"{") <= settings.TAKHIN_MAX_RECORDS:
        return json_text.parse(_envelopes, body)
    _allowance.left = settings.TAKHIN_MAX_RECORDS
    return json_text.parse(_counted_envelopes, body)


def _inline(part: str, raw: msgspec.Raw) -> bytes | None:
    text = bytes(raw)
    if is_deeper(text, settings.TAKHIN_MAX_NESTING):
        raise InvalidJson(f"nested deeper than {settings.TAKHIN_MAX_NESTING} levels", f"$.{part}Schema")
    return None if text == b"null" else text


def _read_lines(body: bytes) -> Decoded:
    records: list[InboundRecord] = []
    for end, line in _lines_of(body):
        if len(records) == settings.TAKHIN_MAX_RECORDS:
            raise _too_many()
        try:
            records.append(json_text.parse(_records, line))
        except InvalidJson as error:
            raise _on_line(body, end, _expecting(LINE_EXAMPLE, error)) from None
    if json_text.loses_fields(body, records):
        lane.leave()
        _refuse_repeated_fields(body)
    decoded = _decoded(records)
    for index, excess in _excesses(decoded):
        end, _ = next(islice(_lines_of(body), index, None))
        raise _on_line(body, end, f"${excess}")
    return decoded


def _lines_of(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each line that is not blank, and the offset of its end."""
    stream = io.BytesIO(body)
    # One at a time, because a list of all lines may take many times the memory of the body.
    for line in stream:
        if line.isspace():
            # Skip all blank lines in one step.
            if blank := _blank.match(body, stream.tell()):
                stream.seek(blank.end())
        else:
            # Concatenated files may have a byte order mark in the middle.
            yield stream.tell(), line.removeprefix(json_text.BYTE_ORDER_MARK)


def _refuse_repeated_fields(body: bytes) -> None:
    for end, line in _lines_of(body):
        if repeated := json_text.find_repeated(line, RECORD):
            raise _on_line(body, end, str(repeated.error))


def _on_line(body: bytes, end: int, what: str) -> InvalidJson:
    line = body.count(b"\n", 0, end - 1) + 1
    return InvalidJson(what, f"line {line}")


def _expecting(example: str, error: InvalidJson) -> str:
    """Return the error's text, with an example if the error is about the whole text."""
    return f"{error}; expected {example}" if error.place == "$" else str(error)


def _too_many() -> TooManyRecords:
    return TooManyRecords(f"a request may have at most {settings.TAKHIN_MAX_RECORDS} records (TAKHIN_MAX_RECORDS)")


def _excesses(decoded: Decoded) -> Iterator[tuple[int, str]]:
    """Yield the index of each record that exceeds a limit, and which limit."""
    most_headers = settings.TAKHIN_MAX_HEADERS
    for index, headers in enumerate(map(_headers_of, decoded.records)):
        if headers and len(headers) > most_headers:
            yield index, f".headers: expected at most {most_headers} headers, got {len(headers)}"
    yield from _deeper("key", decoded.keys)
    yield from _deeper("value", decoded.values)


def _deeper(part: str, texts: Sequence[bytes]) -> Iterator[tuple[int, str]]:
    levels = settings.TAKHIN_MAX_NESTING
    # Each level takes two brackets, so shorter texts need no look.
    if max(map(len, texts), default=0) > 2 * levels:
        for index, text in enumerate(texts):
            if len(text) > 2 * levels and is_deeper(text, levels):
                yield index, f".{part}: nested deeper than {levels} levels"
