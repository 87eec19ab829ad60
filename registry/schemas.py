"""Turn a schema's text into what is stored, compared and looked up by: compact text, canonical form, fingerprint."""

import re
from collections.abc import Sequence
from typing import Any

import avro.name
import avro.schema
import fastavro.schema
import msgspec

from registry.entries import Reference
from registry.errors import InvalidSchema, SchemaTooLarge, UnsupportedSchema

AVRO = "AVRO"
# Both parsers take about a second for a schema of this size; real ones are a hundredth of it.
MAX_TEXT_BYTES = 1024 * 1024
_encode = msgspec.json.Encoder(order="deterministic").encode
# What fastavro marks its own output with, and then believes.
PARSER_MARKS = ("__fastavro_parsed", "__named_schemas")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LOGICAL = "logical"


class Parsed(msgspec.Struct, frozen=True):
    """A valid schema: its compact text, and its canonical text with full names and ordered members."""

    text: str
    canonical: str


def parse(text: str, dependencies: Sequence[str] = ()) -> Parsed:
    """Judge an Avro schema; `dependencies` are the texts that it refers to, each after its own.

    Raises InvalidSchema and SchemaTooLarge.
    """
    decoded = _decode(text)
    resolved = _parse_into(dict(named_types(dependencies)), decoded)
    with_avro(text, dependencies)
    try:
        return Parsed(msgspec.json.encode(decoded).decode(), _encode(_canonical(resolved)).decode())
    except RecursionError as error:
        raise _invalid(error) from None


def check_type(schema_type: str) -> None:
    """Raise UnsupportedSchema unless schemas of this type can be registered."""
    if schema_type in ("JSON", "PROTOBUF"):
        raise UnsupportedSchema(f"schemas of type {schema_type} are not supported yet; this registry takes {AVRO}")
    if schema_type != AVRO:
        raise UnsupportedSchema(f"'{schema_type[:100]}' is not a schema type; this registry takes {AVRO}")


def fingerprint(canonical: str, references: Sequence[Reference]) -> str:
    """What equal schemas share. Not Avro's parsing canonical form: that drops defaults and logical types."""
    identity = _encode([AVRO, canonical, [msgspec.structs.astuple(reference) for reference in references]])
    return str(fastavro.schema.fingerprint(identity.decode(), "SHA-256"))


def named_types(texts: Sequence[str]) -> dict[str, object]:
    """Every named type that these schemas define, by full name, as fastavro's `named_schemas`."""
    named: dict[str, Any] = {}
    for text in texts:
        _parse_into(named, _decode(text))
    return named


def with_avro(text: str, dependencies: Sequence[str] = ()) -> avro.schema.Schema:
    """The schema as the Apache package knows it, whose compatibility rules are in force."""
    names = avro.name.Names()
    try:
        for dependency in dependencies:
            avro.schema.make_avsc_object(_without_logical_types(_decode(dependency)), names)
        decoded = _without_logical_types(_decode(text))
        if isinstance(decoded, str) and names.has_name(decoded, None):
            return names.get_name(decoded, None)
        return avro.schema.make_avsc_object(decoded, names)
    except InvalidSchema:
        raise
    # It judges by whatever its code runs into.
    except Exception as error:
        raise _invalid(error) from None


def _decode(text: str) -> Any:
    if len(text) > MAX_TEXT_BYTES:
        raise SchemaTooLarge(f"the schema has {len(text)} characters; at most {MAX_TEXT_BYTES} are taken")
    try:
        decoded = msgspec.json.decode(text)
        compact = msgspec.json.encode(decoded)
    except msgspec.DecodeError as error:
        raise InvalidSchema(f"Invalid schema: it is not JSON: {error}") from None
    except (RecursionError, UnicodeError):
        raise InvalidSchema("Invalid schema: it is nested too deep, or not UTF-8") from None
    if any(mark.encode() in compact for mark in PARSER_MARKS):
        raise InvalidSchema(f"Invalid schema: {' and '.join(PARSER_MARKS)} are not allowed in it")
    return decoded


def _parse_into(named: dict[str, Any], decoded: Any) -> Any:
    try:
        return fastavro.schema.parse_schema(decoded, named)
    # It judges by whatever its code runs into.
    except Exception as error:
        raise _invalid(error) from None


def _canonical(node: Any) -> Any:
    """The parsed schema without marks and needless members. Raises InvalidSchema for what neither parser judges."""
    if isinstance(node, list):
        branches = [_canonical(branch) for branch in node]
        names = [branch if isinstance(branch, str) else branch.get("name", branch["type"]) for branch in branches]
        if len(set(names)) < len(names):
            raise InvalidSchema(f"Invalid schema: a union has one type twice: {', '.join(names)}")
        return branches
    if not isinstance(node, dict):
        return node
    members = {name: value for name, value in node.items() if name not in PARSER_MARKS}
    if members.get("logicalType") == "decimal" and "precision" not in members:
        raise InvalidSchema("Invalid schema: a decimal has no precision")
    for inner in ("items", "values"):
        if inner in members:
            members[inner] = _canonical(members[inner])
    if "fields" in members:
        members["fields"] = [_canonical_field(field) for field in members["fields"]]
    return members["type"] if members.keys() == {"type"} else members


def _canonical_field(field: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(field["name"], str) or not NAME.fullmatch(field["name"]):
        raise InvalidSchema(f"Invalid schema: {str(field['name'])[:100]!r} is not a field name")
    return {**field, "type": _canonical(field["type"])}


def _without_logical_types(node: Any) -> Any:
    """The schema with each `logicalType` under a name that the Apache package does not judge and warn of."""
    if isinstance(node, list):
        return [_without_logical_types(item) for item in node]
    if isinstance(node, dict):
        renamed = {"logicalType": LOGICAL}
        return {renamed.get(name, name): _without_logical_types(value) for name, value in node.items()}
    return node


def _invalid(error: Exception) -> InvalidSchema:
    if isinstance(error, fastavro.schema.UnknownType):
        return InvalidSchema(f"Invalid schema: unknown type {str(error.name)[:200]}")
    if isinstance(error, KeyError):
        return InvalidSchema(f"Invalid schema: a type lacks its member {error}")
    if isinstance(error, RecursionError):
        return InvalidSchema("Invalid schema: it is nested too deep")
    return InvalidSchema(f"Invalid schema: {str(error)[:500]}")
