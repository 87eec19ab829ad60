"""Write schemas in canonical form: full names, and no redundant fields."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from registry.avro_json.errors import InvalidAvroSchema
from registry.avro_json.naming import PRIMITIVES, full_name, meant, namespace_of

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NAMED = ("record", "error", "enum", "fixed")
# The schema attributes that the specification defines for each type; everything else is a custom property.
MEMBERS = {
    "record": {"name", "fields"},
    "error": {"name", "fields"},
    "enum": {"name", "symbols"},
    "fixed": {"name", "size"},
    "array": {"items"},
    "map": {"values"},
}
RESERVED = {"namespace"}.union(*MEMBERS.values())


def canonical(schemas: Iterable[object]) -> list[Any]:
    """Return the schemas with full names. Each may refer to the schemas before it.

    Namespaces and attributes that belong to other types are removed; everything else is kept. The schemas have already
    been compiled, so this checks only what encoding and decoding do not need: the spelling of names, aliases and enum
    defaults. Raises InvalidAvroSchema.
    """
    writer = _Canonical()
    return [writer.canonical(schema, "") for schema in schemas]


class _Canonical:
    def __init__(self) -> None:
        self._known: set[str] = set()

    def canonical(self, node: Any, space: str) -> Any:
        if isinstance(node, str):
            return self._name(node, space)
        if isinstance(node, list):
            return [self.canonical(branch, space) for branch in node]
        kind = node["type"]
        if not isinstance(kind, str):
            return self.canonical(kind, space)
        if kind in NAMED:
            return self._definition(node, space)
        if kind not in PRIMITIVES and kind not in ("array", "map"):
            # Other attributes on a reference would describe the referenced type.
            return self._name(kind, space)
        made = _kept(node)
        for name in {"items", "values"} & made.keys():
            made[name] = self.canonical(made[name], space)
        return kind if made.keys() == {"type"} else made

    def _name(self, name: str, space: str) -> str:
        return name if name in PRIMITIVES else next(full for full in meant(name, space) if full in self._known)

    def _definition(self, node: dict[str, Any], space: str) -> dict[str, Any]:
        name = full_name(node, space)
        _check_named(name, node)
        self._known.add(name)
        made = {**_kept(node), "name": name}
        if space and not namespace_of(name):
            # Without this, the name would inherit the enclosing namespace.
            made["namespace"] = ""
        if "fields" in made:
            made["fields"] = [self._field(field, namespace_of(name)) for field in node["fields"]]
        return made

    def _field(self, field: dict[str, Any], space: str) -> dict[str, Any]:
        if not NAME.fullmatch(field["name"]):
            raise InvalidAvroSchema(f"{field['name'][:100]!r} is not a valid field name")
        _check_aliases(field["name"], field)
        return {**field, "type": self.canonical(field["type"], space)}


def _kept(node: dict[str, Any]) -> dict[str, Any]:
    own = MEMBERS.get(node["type"], ())
    return {name: value for name, value in node.items() if name in own or name not in RESERVED}


def _check_named(name: str, node: dict[str, Any]) -> None:
    if not all(NAME.fullmatch(part) for part in name.split(".")):
        raise InvalidAvroSchema(f"{name[:100]!r} is not a valid name")
    _check_aliases(name, node)
    if node["type"] != "enum":
        return
    for symbol in node["symbols"]:
        if not NAME.fullmatch(symbol):
            raise InvalidAvroSchema(f"{name}: {symbol[:100]!r} is not a valid symbol")
    default = node.get("default")
    if default is not None and default not in node["symbols"]:
        raise InvalidAvroSchema(f"{name}: the default {str(default)[:100]!r} is not one of the symbols")


def _check_aliases(name: str, node: dict[str, Any]) -> None:
    aliases = node.get("aliases") or []
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        raise InvalidAvroSchema(f"{name}: aliases must be an array of strings")


def definitions(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a canonical schema that defines or describes a type, outermost first."""
    if isinstance(node, list):
        for branch in node:
            yield from definitions(branch)
    elif isinstance(node, dict):
        yield node
        inner = [node[name] for name in ("items", "values") if name in node]
        for part in (*inner, *(field["type"] for field in node.get("fields", ()))):
            yield from definitions(part)
