"""Compile nodes into closures that read Avro binary as JSON values, which our writers accept again."""

import base64
import math
import uuid
from collections.abc import Callable
from typing import Any

from registry.avro_json import decimals, durations, scalars
from registry.avro_json.binary import INT, LONG, Cursor
from registry.avro_json.errors import Refusal
from registry.avro_json.nodes import Array, Enum, Fixed, Map, Node, Primitive, Record, Union, label
from registry.avro_json.times import Clock
from registry.avro_json.unions import UnionWriter
from registry.avro_json.values import Description

Reader = Callable[[Cursor], Any]
# One byte may expand to "1970-01-01T00:00:00.000000000Z".
TIME_TEXT = 32


class Readers:
    def __init__(self, unions: dict[int, UnionWriter], *, latin1_bytes: bool) -> None:
        self._unions = unions
        self._latin1 = latin1_bytes
        self._compiled: dict[int, Reader] = {}

    def reader(self, node: Node) -> Reader:
        known = self._compiled.get(id(node))
        if known is None:
            known = self._compile(node)
            self._compiled[id(node)] = known
        return known

    def _compile(self, node: Node) -> Reader:
        match node:
            case Record():
                return self._record(node)
            case Array():
                return array(self.reader(node.items))
            case Map():
                return mapping(self.reader(node.values))
            case Union():
                return union(node, self._unions[id(node)], [self.reader(branch) for branch in node.branches])
            case Enum():
                return enumeration(node)
            case Fixed():
                return self._binary(node)
            case Primitive("bytes"):
                return self._binary(node)
            case Primitive("int" | "long"):
                return integer(node)
        return PLAIN[node.tag]

    def _record(self, node: Record) -> Reader:
        fields: list[tuple[str, Reader]] = []
        # Register the record before compiling its fields, because a field may have the same type.
        read = record(fields)
        self._compiled[id(node)] = read
        fields += [(field.name, self.reader(field.node)) for field in node.fields]
        return read

    def _binary(self, node: Fixed | Primitive) -> Reader:
        read = self._underlying(node)
        # One byte may expand to a decimal with a large scale.
        return spending(read) if node.logical is not None and node.logical.name == "decimal" else read

    def _underlying(self, node: Fixed | Primitive) -> Reader:
        expected = label(node)
        render = renderer(node, latin1=self._latin1)
        if isinstance(node, Fixed):
            size = node.size

            def read_fixed(cursor: Cursor) -> Any:
                if size == 0:
                    cursor.empty()
                return render(cursor.take(size, expected))

            return read_fixed
        return lambda cursor: render(cursor.take(cursor.number(expected), expected))


def spending(read: Callable[[Cursor], str]) -> Reader:
    """Wrap a reader to count its text against the budget."""

    def counted(cursor: Cursor) -> str:
        text = read(cursor)
        cursor.spend(len(text))
        return text

    return counted


def renderer(node: Fixed | Primitive, *, latin1: bool) -> Callable[[bytes], Any]:
    logical = node.logical
    if logical is None:
        return (lambda data: data.decode("latin-1")) if latin1 else (lambda data: base64.b64encode(data).decode())
    if logical.name == "decimal" and latin1:
        return lambda data: data.decode("latin-1")
    if logical.name == "decimal":
        return lambda data: decimals.text_of(data, logical)
    if logical.name == "duration":
        return durations.members_of
    return lambda data: str(uuid.UUID(bytes=data))


def read_null(cursor: Cursor) -> None:
    cursor.empty()


def read_boolean(cursor: Cursor) -> bool:
    byte = cursor.take(1, "boolean")[0]
    if byte > 1:
        raise Refusal("boolean", Description(f"the byte {byte}"))
    return byte == 1


def read_string(cursor: Cursor) -> str:
    data = cursor.take(cursor.number("string"), "string")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Refusal("string", Description("bytes that are not UTF-8")) from None


def read_float(cursor: Cursor) -> float | str:
    return _number(scalars.FLOAT.unpack(cursor.take(4, "float"))[0])


def read_double(cursor: Cursor) -> float | str:
    return _number(scalars.DOUBLE.unpack(cursor.take(8, "double"))[0])


def _number(number: float) -> float | str:
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


PLAIN: dict[str, Reader] = {
    "null": read_null,
    "boolean": read_boolean,
    "string": read_string,
    "float": read_float,
    "double": read_double,
}


def integer(node: Primitive) -> Reader:
    allowed = INT if node.tag == "int" else LONG
    expected = label(node)
    if node.logical is None:
        return lambda cursor: cursor.number(expected, allowed)
    clock = Clock(node.logical.name)

    def read_time(cursor: Cursor) -> str | int:
        cursor.spend(TIME_TEXT)
        return clock.text(cursor.number(expected, allowed))

    return read_time


def enumeration(node: Enum) -> Reader:
    symbols = node.symbols
    places = range(len(symbols))

    def read(cursor: Cursor) -> str:
        symbol = symbols[cursor.number(node.tag, places)]
        cursor.spend(len(symbol))
        return symbol

    return read


def record(fields: list[tuple[str, Reader]]) -> Reader:
    width = 0

    def read(cursor: Cursor) -> dict[str, Any]:
        nonlocal width
        if not fields:
            cursor.empty()
        # The fields are compiled after this reader is created.
        width = width or sum(len(name) + 4 for name, _ in fields)
        cursor.spend(width)
        found = {}
        name = ""
        try:
            for name, read_field in fields:
                found[name] = read_field(cursor)
        except Refusal as refusal:
            refusal.path.append(name)
            raise
        return found

    return read


def array(read_item: Reader) -> Reader:
    def read(cursor: Cursor) -> list[Any]:
        items: list[Any] = []
        try:
            while size := block(cursor, "array"):
                for _ in range(size):
                    items.append(read_item(cursor))
        except Refusal as refusal:
            refusal.path.append(len(items))
            raise
        return items

    return read


def mapping(read_member: Reader) -> Reader:
    def read(cursor: Cursor) -> dict[str, Any]:
        members: dict[str, Any] = {}
        while size := block(cursor, "map"):
            for _ in range(size):
                key = read_string(cursor)
                try:
                    members[key] = read_member(cursor)
                except Refusal as refusal:
                    refusal.path.append(key)
                    raise
        return members

    return read


def block(cursor: Cursor, expected: str) -> int:
    """Return the number of items in the next block. A negative count is followed by the block's size in bytes."""
    size = cursor.number(expected)
    if size < 0:
        cursor.number(expected)
    return abs(size)


def union(node: Union, writer: UnionWriter, readers: list[Reader]) -> Reader:
    """Return a reader for a union. It tags a value that our writer would otherwise encode as another branch."""
    expected = str(node)
    places = range(len(readers))
    tags = [branch.tag for branch in node.branches]

    def read(cursor: Cursor) -> Any:
        place = cursor.number(expected, places)
        value = readers[place](cursor)
        if writer.place_of(value, cursor) == place:
            return value
        cursor.spend(len(tags[place]))
        return {tags[place]: value}

    return read
