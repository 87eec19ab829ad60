"""Resolve the full names of types: the specification's section "Names"."""

from typing import Any

from registry.avro_json.errors import InvalidAvroSchema
from registry.avro_json.values import shown

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})


def full_name(schema: dict[str, Any], space: str) -> str:
    """Return the full name of a record, enum or fixed in the namespace `space`. Raises InvalidAvroSchema."""
    name = schema.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidAvroSchema(f"a {schema['type']} has no name: {shown(schema)}")
    own = schema.get("namespace")
    if own is not None and not isinstance(own, str):
        raise InvalidAvroSchema(f"{name[:80]}: namespace must be a string")
    full = within(name, space if own is None else own)
    if full in PRIMITIVES:
        raise InvalidAvroSchema(f"{schema['type']} must not be named {full}")
    return full


def within(name: str, space: str) -> str:
    """Return the full name of `name` in a namespace. A name with a dot is already a full name."""
    if "." in name:
        return name.removeprefix(".")
    return f"{space}.{name}" if space else name


def namespace_of(full: str) -> str:
    return full.rpartition(".")[0]


def meant(name: str, space: str) -> tuple[str, ...]:
    """Return the full names a reference may mean, in order. Like Java, fall back to the null namespace."""
    own = within(name, space)
    return (own,) if "." in name or own == name else (own, name)
