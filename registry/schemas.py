"""Parse schema texts into the forms used to store, compare and find them: compact, canonical and fingerprint."""

import gc
import hashlib
from collections.abc import Sequence
from typing import Any

import avro.name
import avro.schema
import msgspec
from django.conf import settings

from registry.avro_json import AvroSchema, InvalidAvroSchema
from registry.avro_json.logical import logical_of
from registry.avro_json.naming import PRIMITIVES, namespace_of, within
from registry.canonical import canonical, definitions
from registry.errors import InvalidSchema, SchemaTooLarge, UnsupportedSchema
from registry.values import Reference

AVRO = "AVRO"
MIB = 1024 * 1024
# Checking a schema of this size takes about a second; real ones are about a hundredth of it.
MAX_TEXT_CHARACTERS = MIB
# Includes all referenced schemas: they are decoded and compiled whenever the schema is.
MAX_TOTAL_CHARACTERS = 2 * MIB
# A compiled schema consists of cycles, about 150 bytes for each character, and the server collects old objects rarely:
# what this many characters leave behind is collected at once, up to 80 MB.
COLLECT_CHARACTERS = MIB // 2
_encode = msgspec.json.Encoder(order="deterministic").encode
LOGICAL = "logical"


class _Garbage:
    """Counts the characters compiled since the last collection. A lost count of two threads only delays the next."""

    def __init__(self) -> None:
        self._characters = 0

    def add(self, characters: int) -> None:
        self._characters += characters
        if self._characters > COLLECT_CHARACTERS:
            self._characters = 0
            gc.collect()


_garbage = _Garbage()


class Parsed(msgspec.Struct, frozen=True):
    """A valid schema: its compact text, and its canonical text with full names and sorted keys."""

    text: str
    canonical: str


def parse(text: str, dependencies: Sequence[str] = ()) -> Parsed:
    """Validate an Avro schema.

    `dependencies` are the texts of the schemas it refers to, each after its own dependencies.
    The compiler that encodes records validates the schema, so every valid schema can encode records.
    Raises InvalidSchema, SchemaTooLarge.
    """
    compile_text(text, dependencies)
    with_avro(text, dependencies)
    decoded = _decode(text)
    made = canonical([*map(_decode, dependencies), decoded])[-1]
    return Parsed(msgspec.json.encode(decoded).decode(), _encode(made).decode())


def compile_text(text: str, dependencies: Sequence[str] = ()) -> AvroSchema:
    """Compile a schema for encoding and decoding, using the Avro settings. Raises InvalidSchema, SchemaTooLarge."""
    decoded = _decode(text)
    characters = len(text) + sum(map(len, dependencies))
    if characters > MAX_TOTAL_CHARACTERS:
        raise SchemaTooLarge(f"the schema and all its references have more than {MAX_TOTAL_CHARACTERS} characters")
    _garbage.add(characters)
    try:
        return AvroSchema(
            decoded,
            map(_decode, dependencies),
            latin1_bytes=settings.TAKHIN_AVRO_BYTES == "latin-1",
            ignore_unknown_fields=settings.TAKHIN_AVRO_UNKNOWN_FIELDS == "ignore",
            most_bytes=settings.TAKHIN_MAX_RECORD_BYTES,
        )
    except InvalidAvroSchema as error:
        raise _invalid(error) from None


def check_type(schema_type: str) -> None:
    """Raise UnsupportedSchema unless schemas of this type can be registered."""
    if schema_type in ("JSON", "PROTOBUF"):
        raise UnsupportedSchema(f"schema type {schema_type} is not supported yet; this registry supports only {AVRO}")
    if schema_type != AVRO:
        raise UnsupportedSchema(f"'{schema_type[:100]}' is not a schema type; this registry supports only {AVRO}")


def fingerprint(canonical: str, references: Sequence[Reference]) -> str:
    """Return a hash that equal schemas share. Unlike Avro's own fingerprints, it covers defaults and logical types."""
    identity = _encode([AVRO, canonical, [msgspec.structs.astuple(reference) for reference in references]])
    return hashlib.sha256(identity).hexdigest()


def with_avro(text: str, dependencies: Sequence[str] = ()) -> avro.schema.Schema:
    """Parse a schema with the Apache package, whose compatibility rules apply. Raises InvalidSchema."""
    names = _FullNames()
    try:
        for schema in canonical(map(_decode, (*dependencies, text))):
            plain = _plain(schema)
            made = names.get_name(plain, None) if isinstance(plain, str) and plain not in PRIMITIVES else None
            made = made or avro.schema.make_avsc_object(plain, names)
        return made
    except InvalidSchema:
        raise
    # The package raises arbitrary exceptions for invalid schemas.
    except Exception as error:
        raise _invalid(error) from None


class _FullNames(avro.name.Names):  # type: ignore[misc]
    """Use every name as it is: in a canonical schema, a name without a dot has no namespace."""

    default_namespace = property(lambda self: None, lambda self, value: None)


def _plain(schema: Any) -> Any:
    """Adapt a canonical schema to the Apache package.

    Valid logical types move to a property that the package does not check, and invalid ones are dropped. Errors become
    records, and aliases become full names.
    """
    for node in definitions(schema):
        if "logicalType" in node:
            name = node.pop("logicalType")
            if logical_of(node | {"logicalType": name}) is not None:
                node[LOGICAL] = name
        if node["type"] == "error":
            node["type"] = "record"
        if node.get("aliases") and "name" in node:
            space = namespace_of(node["name"])
            node["aliases"] = [within(alias, space) for alias in node["aliases"]]
    return schema


def _decode(text: str) -> Any:
    if len(text) > MAX_TEXT_CHARACTERS:
        raise SchemaTooLarge(f"the schema has {len(text)} characters; at most {MAX_TEXT_CHARACTERS} are allowed")
    try:
        decoded = msgspec.json.decode(text)
        # A text with lone surrogates decodes, but cannot be encoded and so cannot be stored.
        msgspec.json.encode(decoded)
    except msgspec.DecodeError as error:
        raise InvalidSchema(f"Invalid schema: not valid JSON: {error}") from None
    except (RecursionError, UnicodeError):
        raise InvalidSchema("Invalid schema: nested too deeply, or not UTF-8") from None
    return decoded


def _invalid(error: Exception) -> InvalidSchema:
    if isinstance(error, RecursionError):
        return InvalidSchema("Invalid schema: nested too deeply")
    return InvalidSchema(f"Invalid schema: {str(error)[:500]}")
