"""Make the full names of types from what stands in a schema: the specification's "Names"."""

from typing import Any

from registry.avro_json.errors import InvalidAvroSchema
from registry.avro_json.values import shown

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})


def full_name(schema: dict[str, Any], space: str) -> str:
    """The name of a record, enum or fixed that stands in the namespace `space`. Raises InvalidAvroSchema."""
    name = schema.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidAvroSchema(f"a {schema['type']} has no name: {shown(schema)}")
    own = schema.get("namespace")
    if own is not None and not isinstance(own, str):
        raise InvalidAvroSchema(f"{name[:80]}: namespace is not a string")
    full = within(name, space if own is None else own)
    if full in PRIMITIVES:
        raise InvalidAvroSchema(f"a {schema['type']} may not be named {full}")
    return full


def within(name: str, space: str) -> str:
    """A name as it is meant in a namespace; one with a dot is a full name already."""
    if "." in name:
        return name.removeprefix(".")
    return f"{space}.{name}" if space else name


def namespace_of(full: str) -> str:
    return full.rpartition(".")[0]


def meant(name: str, space: str) -> tuple[str, ...]:
    """Which full names a reference may mean, in order: Java too falls back to the null namespace."""
    own = within(name, space)
    return (own,) if "." in name or own == name else (own, name)
