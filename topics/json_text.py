"""Read JSON text in one way: in words of our own, with the place, and no field silently in place of another.

msgspec decodes, and keeps the last of two fields with one name. Each field has one colon, so what was decoded,
encoded again, has fewer colons than the text exactly when a field was lost: two counts in C instead of a second parse.
"""

import re
from collections.abc import Iterator, Mapping
from typing import TypeVar

import msgspec
from django.conf import settings

T = TypeVar("T")
# Which values to look into: all of them, those of the named fields, or each item of a list by the shape in it.
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
# UTF-16 and UTF-32: their own byte order marks, or the zero bytes around the first character of a JSON text.
_other_utf = re.compile(rb"\xff\xfe|\xfe\xff|\x00\x00\xfe\xff|\x00|[^\x00]\x00")


class InvalidJson(ValueError):
    """Says where and what is wrong, such as `$.records[1].partition: expected integer, got string`."""

    def __init__(self, what: str, place: str = "") -> None:
        self.place = place
        super().__init__(f"{place}: {what}" if place else what)


class Repeated(msgspec.Struct, frozen=True):
    """A field that an object has more than once, and the path to that object."""

    name: str
    path: list[str | int]

    @property
    def error(self) -> InvalidJson:
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{_short(part)}" for part in self.path)
        return InvalidJson(f'the field "{_short(self.name)}" appears more than once', f"${place}")


def utf8(body: bytes) -> bytes:
    """The body without its byte order mark. Raises InvalidJson unless it is UTF-8 (RFC 8259, section 8.1)."""
    try:
        # msgspec does not look inside the values it skips.
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
    """The value of a JSON text, in which no object has two fields of one name. Raises InvalidJson."""
    value = parse(decoder, text)
    check_fields(text, value, shape)
    return value


def parse(decoder: "msgspec.json.Decoder[T]", text: bytes) -> T:
    """The value of a JSON text; of fields with one name the last. Raises InvalidJson."""
    try:
        return decoder.decode(text)
    except msgspec.DecodeError as error:
        raise _in_our_words(str(error)) from None
    except UnicodeDecodeError:
        raise InvalidJson("the JSON text is not UTF-8") from None
    except RecursionError:
        raise _too_deep() from None


def check_fields(text: bytes, value: object, shape: Shape = ALL) -> None:
    """Raise InvalidJson if an object has two fields of one name; the text was decoded to this value."""
    try:
        repeated = find_repeated(text, shape) if loses_fields(text, value) else None
    except RecursionError:
        raise _too_deep() from None
    if repeated is not None:
        raise repeated.error


def loses_fields(text: bytes, value: object) -> bool:
    """Whether the text has fields that its decoded value lacks: some name stands twice in an object.

    It takes a value that is encoded with every field it had, null ones too.
    """
    again = _encode(value)
    lost = text.count(b":") - again.count(b":")
    if b"\\" in text:
        # A string may write a colon as an escape, and is encoded again without it.
        lost += _escaped_colons(text) - _escaped_colons(again)
    return lost != 0


def _escaped_colons(text: bytes) -> int:
    return len(_escaped_colon.findall(text)) if b"u003a" in text or b"u003A" in text else 0


class _Name(str):
    """A field's name, of which `_fields` hears before msgspec puts it in place of an equal one."""

    __slots__ = ()


class _Twice(Exception):
    """Carries the name. No ValueError, for msgspec makes errors of its own of those."""


def _fields(text: bytes) -> dict[_Name, msgspec.Raw]:
    """The fields of a JSON object. Raises _Twice at the first that stands there again."""
    seen: set[str] = set()

    def hear(_: type, name: str) -> _Name:
        if name in seen:
            raise _Twice(name)
        seen.add(name)
        return _Name(name)

    return msgspec.json.decode(text, type=dict[_Name, msgspec.Raw], dec_hook=hear)


def find_repeated(text: bytes, shape: Shape = ALL) -> Repeated | None:
    """The first field that an object of a valid JSON text has more than once."""
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
    """`$.records[1].partition: expected integer, got string` from msgspec's own wording."""
    what, found, place = message.rpartition(" - at ")
    what, place = (what, place.strip("`")) if found else (message, "$")
    if what == "Input data was truncated":
        return InvalidJson("the JSON text ends too early, or holds half of a surrogate pair")
    if what.startswith("JSON is malformed"):
        return InvalidJson(what)
    if unknown := _unknown_field.fullmatch(what):
        return InvalidJson(f"object contains unknown field {_short(unknown[1])}", place)
    words = _python_name.sub(lambda name: _python_names[name[1]], what.replace(" | null", "").replace("`", ""))
    return InvalidJson(words[:1].lower() + words[1:].replace(" | ", " or "), place)


def _short(name: str) -> str:
    return name if len(name) <= MOST_SHOWN else f"{name[:MOST_SHOWN]}…"
