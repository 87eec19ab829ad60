"""Decode JSON text with our own error messages, and reject duplicate fields.

Of two fields with the same name, msgspec keeps the last. Each field has one colon, so re-encoding the decoded value
gives fewer colons than the text exactly if a field was lost: counting twice in C replaces a second parse.
"""

import re
from collections.abc import Iterator, Mapping
from typing import TypeVar

import msgspec
from django.conf import settings

from core import lane, turns
from core.counting import count

T = TypeVar("T")
# Which values to check: all of them, those of the named fields, or each item of a list by the list's own shape.
Shape = Mapping[str, "Shape"] | list["Shape"] | None
ALL: Shape = None
MOST_SHOWN = 60
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_encode = msgspec.json.Encoder(enc_hook=str).encode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_escaped_colon = re.compile(rb"(?<!\\)(?:\\\\)*\\u003[aA]")
_unknown_field = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_python_name = re.compile(r"\b(int|str|bool|float)\b")
_python_names = {"int": "integer", "str": "string", "bool": "boolean", "float": "number"}
# UTF-16 and UTF-32: a byte order mark, or zero bytes next to the first character of a JSON text.
_other_utf = re.compile(rb"\xff\xfe|\xfe\xff|\x00\x00\xfe\xff|\x00|[^\x00]\x00")


class InvalidJson(ValueError):
    """Names the place and the problem, such as `$.records[1].partition: expected integer, got string`."""

    def __init__(self, what: str, place: str = "") -> None:
        self.place = place
        super().__init__(f"{place}: {what}" if place else what)


class Repeated(msgspec.Struct, frozen=True):
    """A duplicate field, and the path to its object."""

    name: str
    path: list[str | int]

    @property
    def error(self) -> InvalidJson:
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{_short(part)}" for part in self.path)
        return InvalidJson(f'the field "{_short(self.name)}" appears more than once', f"${place}")


def utf8(body: bytes) -> bytes:
    """Return the body without its byte order mark. Raises InvalidJson unless it is UTF-8 (RFC 8259, section 8.1)."""
    try:
        # msgspec does not validate the values it skips.
        str(body, "utf-8")
    except UnicodeDecodeError as error:
        if _other_utf.match(body):
            raise InvalidJson("the body is UTF-16 or UTF-32; send it as UTF-8") from None
        line = body.count(b"\n", 0, error.start) + 1
        found = f"byte {error.start} is {body[error.start]:#04x}"
        raise InvalidJson(f"the body is not UTF-8: {found}, on line {line}") from None
    if _other_utf.match(body):
        raise InvalidJson("the body is UTF-16 or UTF-32; send it as UTF-8")
    return body.removeprefix(BYTE_ORDER_MARK)


def decode(decoder: "msgspec.json.Decoder[T]", text: bytes, shape: Shape = ALL) -> T:
    """Decode a JSON text, rejecting duplicate fields. Raises InvalidJson."""
    value = parse(decoder, text)
    check_fields(text, value, shape)
    return value


def parse(decoder: "msgspec.json.Decoder[T]", text: bytes) -> T:
    """Decode a JSON text; of duplicate fields, the last one wins. Raises InvalidJson."""
    try:
        return decoder.decode(text)
    except msgspec.DecodeError as error:
        raise _in_our_words(str(error)) from None
    except UnicodeDecodeError:
        raise InvalidJson("the JSON text is not UTF-8") from None
    except RecursionError:
        raise _too_deep() from None


def check_fields(text: bytes, value: object, shape: Shape = ALL) -> None:
    """Raise InvalidJson if an object has duplicate fields. `value` is the decoded text."""
    if not loses_fields(text, value):
        return
    # To look at each field takes long.
    lane.leave()
    try:
        repeated = find_repeated(text, shape)
    except RecursionError:
        raise _too_deep() from None
    if repeated is not None:
        raise repeated.error


def loses_fields(text: bytes, value: object) -> bool:
    """Tell whether the text has fields that the decoded value lacks, that is, duplicates.

    The value must encode with every field it had, including null ones.
    """
    again = _encode(value)
    turns.give_way()
    if again == text:
        return False
    lost = count(text, b":") - count(again, b":")
    if b"\\" in text:
        # A string may contain an escaped colon, which is encoded again without the escape.
        lost += _escaped_colons(text) - _escaped_colons(again)
    return lost != 0


def _escaped_colons(text: bytes) -> int:
    return len(_escaped_colon.findall(text)) if b"u003a" in text or b"u003A" in text else 0


class _Name(str):
    """A field name, which `_fields` sees before msgspec replaces an equal one."""

    __slots__ = ()


class _Twice(Exception):
    """Carries the duplicate name. Not a ValueError, because msgspec converts those to its own errors."""


def _fields(text: bytes) -> dict[_Name, msgspec.Raw]:
    """Return the fields of a JSON object. Raises _Twice at the first duplicate."""
    seen: set[str] = set()

    def hear(_: type, name: str) -> _Name:
        if name in seen:
            raise _Twice(name)
        seen.add(name)
        return _Name(name)

    return msgspec.json.decode(text, type=dict[_Name, msgspec.Raw], dec_hook=hear)


def find_repeated(text: bytes, shape: Shape = ALL) -> Repeated | None:
    """Return the first duplicate field in a valid JSON text, or None."""
    return next(_repeated(text, shape, []), None)


def _repeated(text: bytes, shape: Shape, path: list[str | int]) -> Iterator[Repeated]:
    text = text.lstrip()
    if text.startswith(b"{") and not isinstance(shape, list):
        try:
            fields = _fields(text)
        except _Twice as twice:
            yield Repeated(str(twice), path)
            return
        for name, value in fields.items():
            if shape is None or name in shape:
                yield from _repeated(bytes(value), None if shape is None else shape[name], [*path, name])
    elif text.startswith(b"[") and not isinstance(shape, Mapping):
        for index, item in enumerate(_items(text)):
            yield from _repeated(bytes(item), None if shape is None else shape[0], [*path, index])


def _too_deep() -> InvalidJson:
    return InvalidJson(f"nested deeper than {settings.TAKHIN_MAX_NESTING} levels")


def _in_our_words(message: str) -> InvalidJson:
    """Turn msgspec's message into ours, such as `$.records[1].partition: expected integer, got string`."""
    what, found, place = message.rpartition(" - at ")
    what, place = (what, place.strip("`")) if found else (message, "$")
    if what == "Input data was truncated":
        return InvalidJson("the JSON text is truncated or contains a lone surrogate")
    if what.startswith("JSON is malformed"):
        return InvalidJson(what)
    if unknown := _unknown_field.fullmatch(what):
        return InvalidJson(f"object contains unknown field {_short(unknown[1])}", place)
    words = _python_name.sub(lambda name: _python_names[name[1]], what.replace(" | null", "").replace("`", ""))
    return InvalidJson(words[:1].lower() + words[1:].replace(" | ", " or "), place)


def _short(name: str) -> str:
    return name if len(name) <= MOST_SHOWN else f"{name[:MOST_SHOWN]}…"
