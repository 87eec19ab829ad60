"""Parse a decoded JSON schema into nodes, with all names and logical types resolved."""

from collections.abc import Iterable
from typing import Any

from registry.avro_json.errors import InvalidAvroSchema
from registry.avro_json.limits import MOST_BRANCHES, MOST_DEPTH, MOST_NODES
from registry.avro_json.logical import logical_of
from registry.avro_json.naming import PRIMITIVES, full_name, meant, namespace_of
from registry.avro_json.nodes import Array, Enum, Field, Fixed, Map, Node, Primitive, Record, Union
from registry.avro_json.values import NOTHING, shown


def parse(schema: object, dependencies: Iterable[object], most_bytes: int) -> tuple[Node, int]:
    """Return the schema's node and the total number of nodes. Raises InvalidAvroSchema."""
    parser = _Parser(most_bytes)
    for dependency in dependencies:
        parser.node(dependency, "")
    return parser.node(schema, ""), parser.count


class _Parser:
    def __init__(self, most_bytes: int) -> None:
        self.count = 0
        self._depth = 0
        self._most_bytes = most_bytes
        self._known: dict[str, Node] = {}
        self._definitions: dict[str, object] = {}

    def node(self, schema: object, space: str) -> Node:
        self._grow()
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise InvalidAvroSchema(f"types are nested more than {MOST_DEPTH} levels deep")
        try:
            return self._node(schema, space)
        finally:
            self._depth -= 1

    def _grow(self, nodes: int = 1) -> None:
        self.count += nodes
        if self.count > MOST_NODES:
            raise InvalidAvroSchema(f"the schema has more than {MOST_NODES} types, fields and branches")

    def _node(self, schema: object, space: str) -> Node:
        if isinstance(schema, str):
            return Primitive(schema) if schema in PRIMITIVES else self._reference(schema, space)
        if isinstance(schema, list):
            return self._union(schema, space)
        if not isinstance(schema, dict):
            raise InvalidAvroSchema(f"a schema must be a name, an object or an array of branches, not {shown(schema)}")
        kind = schema.get("type")
        if kind is None:
            raise InvalidAvroSchema(f"a schema has no type: {shown(schema)}")
        return self._of_kind(kind, schema, space) if isinstance(kind, str) else self.node(kind, space)

    def _of_kind(self, kind: str, schema: dict[str, Any], space: str) -> Node:
        match kind:
            case "record" | "error":
                return self._record(schema, space)
            case "enum":
                return self._enum(schema, space)
            case "fixed":
                return self._fixed(schema, space)
            case "array":
                return Array("array", self.node(_member(schema, "items", "array"), space))
            case "map":
                return Map("map", self.node(_member(schema, "values", "map"), space))
        return Primitive(kind, logical_of(schema)) if kind in PRIMITIVES else self._reference(kind, space)

    def _reference(self, name: str, space: str) -> Node:
        for full in meant(name, space):
            if full in self._known:
                return self._known[full]
        raise InvalidAvroSchema(f"unknown type {name[:80]!r}: it is not a primitive type and is not defined earlier")

    def _define(self, node: Node, schema: dict[str, Any]) -> Node | None:
        """Return the node already defined under this name, if a referenced schema repeats the identical definition."""
        if node.tag in self._known:
            if self._definitions[node.tag] != schema:
                raise InvalidAvroSchema(f"{node.tag} is defined twice")
            return self._known[node.tag]
        self._known[node.tag] = node
        self._definitions[node.tag] = schema
        return None

    def _union(self, schema: list[Any], space: str) -> Node:
        if not schema:
            raise InvalidAvroSchema("a union has no branches")
        if len(schema) > MOST_BRANCHES:
            raise InvalidAvroSchema(f"a union has {len(schema)} branches, more than {MOST_BRANCHES}")
        branches = tuple(self.node(branch, space) for branch in schema)
        seen: set[str] = set()
        for branch in branches:
            if isinstance(branch, Union):
                raise InvalidAvroSchema("a union may not immediately contain another union")
            if branch.tag in seen:
                raise InvalidAvroSchema(f"a union contains {branch.tag} twice")
            seen.add(branch.tag)
        return Union("union", branches)

    def _record(self, schema: dict[str, Any], space: str) -> Node:
        name = full_name(schema, space)
        record = Record(name)
        known = self._define(record, schema)
        if known is not None:
            return known
        fields = _member(schema, "fields", name)
        if not isinstance(fields, list):
            raise InvalidAvroSchema(f"{name}: fields must be an array")
        seen: set[str] = set()
        for field in fields:
            if not isinstance(field, dict) or not isinstance(field.get("name"), str):
                raise InvalidAvroSchema(f"{name} has a field without a name: {shown(field)}")
            if field["name"] in seen:
                raise InvalidAvroSchema(f"{name} has two fields named {field['name']}")
            seen.add(field["name"])
            self._grow()
            node = self.node(_member(field, "type", f"{name}.{field['name']}"), namespace_of(name))
            record.fields.append(Field(field["name"], node, field.get("default", NOTHING)))
        return record

    def _enum(self, schema: dict[str, Any], space: str) -> Node:
        name = full_name(schema, space)
        symbols = _member(schema, "symbols", name)
        if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
            raise InvalidAvroSchema(f"{name}: symbols must be an array of strings")
        if len(set(symbols)) != len(symbols):
            raise InvalidAvroSchema(f"{name} has a duplicate symbol")
        enum = Enum(name, tuple(symbols))
        return self._define(enum, schema) or enum

    def _fixed(self, schema: dict[str, Any], space: str) -> Node:
        name = full_name(schema, space)
        size = _member(schema, "size", name)
        if type(size) is not int or size < 0:
            raise InvalidAvroSchema(f"{name}: size must be a non-negative integer, not {shown(size)}")
        if size > self._most_bytes:
            raise InvalidAvroSchema(f"{name}: size is {size}, but a record must be at most {self._most_bytes} bytes")
        fixed = Fixed(name, size, logical_of(schema))
        return self._define(fixed, schema) or fixed


def _member(schema: dict[str, Any], name: str, place: str) -> Any:
    if name not in schema:
        raise InvalidAvroSchema(f"{place} has no {name}")
    return schema[name]
