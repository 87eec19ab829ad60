"""Turn a decoded JSON schema into nodes: every name resolved, every logical type judged."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from producer.avro.errors import InvalidAvroSchema
from producer.avro.nodes import Array, Enum, Field, Fixed, Logical, Map, Node, Primitive, Record, Union
from producer.avro.values import NOTHING, shown

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
# Which underlying types a logical type may stand on; on any other it is ignored, as the specification says.
LOGICAL = {
    "date": {"int"},
    "time-millis": {"int"},
    "time-micros": {"long"},
    "timestamp-millis": {"long"},
    "timestamp-micros": {"long"},
    "timestamp-nanos": {"long"},
    "local-timestamp-millis": {"long"},
    "local-timestamp-micros": {"long"},
    "local-timestamp-nanos": {"long"},
    "uuid": {"string", "fixed"},
    "decimal": {"bytes", "fixed"},
    "duration": {"fixed"},
}
SIZES = {"uuid": 16, "duration": 12}


def parse(schema: object, named: Mapping[str, object]) -> Node:
    """Raises InvalidAvroSchema."""
    try:
        return _Parser(named).node(schema, "")
    except RecursionError:
        raise InvalidAvroSchema("the schema is nested too deeply") from None


class _Parser:
    def __init__(self, named: Mapping[str, object]) -> None:
        self._waiting = dict(named)
        self._known: dict[str, Node] = {}
        self._definitions: dict[str, object] = {}
        self._kinds: dict[str, Callable[[dict[str, Any], str], Node]] = {
            "record": self._record,
            "error": self._record,
            "enum": self._enum,
            "fixed": self._fixed,
            "array": lambda schema, space: Array("array", self.node(_member(schema, "items", "array"), space)),
            "map": lambda schema, space: Map("map", self.node(_member(schema, "values", "map"), space)),
        }

    def node(self, schema: object, space: str) -> Node:
        if isinstance(schema, str):
            return Primitive(schema) if schema in PRIMITIVES else self._reference(schema, space)
        if isinstance(schema, list):
            return self._union(schema, space)
        if not isinstance(schema, dict):
            raise InvalidAvroSchema(f"a schema is a name, an object or an array of branches, not {shown(schema)}")
        kind = schema.get("type")
        if not isinstance(kind, str):
            if kind is None:
                raise InvalidAvroSchema(f"a schema has no type: {shown(schema)}")
            return self.node(kind, space)
        if kind in PRIMITIVES:
            return Primitive(kind, _logical(schema, kind, 0))
        build = self._kinds.get(kind)
        return self._reference(kind, space) if build is None else build(schema, space)

    def _reference(self, name: str, space: str) -> Node:
        for full in (f"{space}.{name}", name) if space and "." not in name else (name,):
            if full not in self._known and full in self._waiting:
                self.node(self._waiting.pop(full), "")
            if full in self._known:
                return self._known[full]
        if self._waiting:
            # A referenced schema may define further names inside.
            self.node(self._waiting.pop(next(iter(self._waiting))), "")
            return self._reference(name, space)
        raise InvalidAvroSchema(f"{name[:80]!r} is neither a type nor the name of one that is defined before it")

    def _define(self, node: Node, schema: dict[str, Any]) -> Node | None:
        """The node that bears the name already, when a referenced schema repeats a definition word by word."""
        if node.tag in self._known:
            if self._definitions[node.tag] != schema:
                raise InvalidAvroSchema(f"{node.tag} is defined twice")
            return self._known[node.tag]
        self._known[node.tag] = node
        self._definitions[node.tag] = schema
        return None

    def _union(self, schema: list[Any], space: str) -> Node:
        branches = tuple(self.node(branch, space) for branch in schema)
        if not branches:
            raise InvalidAvroSchema("a union has no branch")
        seen: set[str] = set()
        for branch in branches:
            if isinstance(branch, Union):
                raise InvalidAvroSchema("a union may not immediately contain another union")
            if branch.tag in seen:
                raise InvalidAvroSchema(f"a union has {branch.tag} twice")
            seen.add(branch.tag)
        return Union("union", branches)

    def _record(self, schema: dict[str, Any], space: str) -> Node:
        name = _full_name(schema, space)
        record = Record(name)
        known = self._define(record, schema)
        if known is not None:
            return known
        fields = _member(schema, "fields", name)
        if not isinstance(fields, list):
            raise InvalidAvroSchema(f"{name}: fields is not an array")
        inner = name.rpartition(".")[0]
        seen: set[str] = set()
        for field in fields:
            if not isinstance(field, dict) or not isinstance(field.get("name"), str):
                raise InvalidAvroSchema(f"{name} has a field without a name: {shown(field)}")
            if field["name"] in seen:
                raise InvalidAvroSchema(f"{name} has the field {field['name']} twice")
            seen.add(field["name"])
            node = self.node(_member(field, "type", f"{name}.{field['name']}"), inner)
            record.fields.append(Field(field["name"], node, field.get("default", NOTHING)))
        return record

    def _enum(self, schema: dict[str, Any], space: str) -> Node:
        name = _full_name(schema, space)
        symbols = _member(schema, "symbols", name)
        if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
            raise InvalidAvroSchema(f"{name}: symbols is not an array of strings")
        if len(set(symbols)) != len(symbols):
            raise InvalidAvroSchema(f"{name} has a symbol twice")
        enum = Enum(name, tuple(symbols))
        return self._define(enum, schema) or enum

    def _fixed(self, schema: dict[str, Any], space: str) -> Node:
        name = _full_name(schema, space)
        size = _member(schema, "size", name)
        if type(size) is not int or not 0 <= size < 2**31:
            raise InvalidAvroSchema(f"{name}: size is not a number of bytes: {shown(size)}")
        fixed = Fixed(name, size, _logical(schema, "fixed", size))
        return self._define(fixed, schema) or fixed


def _member(schema: dict[str, Any], name: str, place: str) -> Any:
    if name not in schema:
        raise InvalidAvroSchema(f"{place} has no {name}")
    return schema[name]


def _full_name(schema: dict[str, Any], space: str) -> str:
    name = schema.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidAvroSchema(f"a {schema['type']} has no name: {shown(schema)}")
    if "." in name:
        return name.removeprefix(".")
    own = schema.get("namespace", space)
    if own is not None and not isinstance(own, str):
        raise InvalidAvroSchema(f"{name}: namespace is not a string")
    full = f"{own}.{name}" if own else name
    if full in PRIMITIVES:
        raise InvalidAvroSchema(f"a {schema['type']} may not be named {full}")
    return full


def _logical(schema: dict[str, Any], kind: str, size: int) -> Logical | None:
    """What is unknown or invalid is ignored, and the underlying type used: the specification's "Logical Types"."""
    name = schema.get("logicalType")
    if not isinstance(name, str) or kind not in LOGICAL.get(name, ()):
        return None
    if name == "decimal":
        return _decimal(schema, kind, size)
    return None if kind == "fixed" and size != SIZES[name] else Logical(name)


def _decimal(schema: dict[str, Any], kind: str, size: int) -> Logical | None:
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if type(precision) is not int or type(scale) is not int or not 0 <= scale <= precision or precision < 1:
        return None
    # The largest number of n bytes is 2^(8n-1)-1.
    if kind == "fixed" and precision > math.floor(math.log10(2) * (8 * size - 1)):
        return None
    return Logical("decimal", precision, scale)
