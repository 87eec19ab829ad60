"""Decide which schema ids a request uses, once, before its records are serialized."""

from collections.abc import Callable

import msgspec
from django.conf import settings

from core.api.errors import InvalidBody, InvalidParameter
from producer.errors import RegistrationForbidden, SchemaRequired
from producer.models import ApiKey, Scope
from producer.options import Options
from producer.pipeline.formats import FORMATS, WITH_SCHEMA
from producer.pipeline.inbound import InlineSchemas
from registry import topic_settings
from registry.avro_json import InvalidAvroSchema
from registry.avro_json.naming import full_name
from registry.canonical import NAMED
from registry.errors import InvalidSchema, SchemaNotFound
from registry.sources.base import SchemaSource
from registry.sources.compiled import compile_text
from registry.sources.guarded import source_for

TOPIC, RECORD, TOPIC_RECORD = "topic", "record", "topic-record"
STRATEGIES = (TOPIC, RECORD, TOPIC_RECORD)
# Returns who registers schemas for this request, or None if it may not register any.
Registrar = Callable[[], str | None]


def resolve(source: SchemaSource, topic: str, options: Options, inline: InlineSchemas, registrar: Registrar) -> Options:
    """Return the options with their schema ids resolved to usable schemas.

    1. Find the registered schemas, and validate the inline schemas that are not registered.
    2. Register those. Nothing is registered if the other part's schema cannot be used.

    Raises SchemaRequired, SchemaNotFound, InvalidSchema, RegistrationForbidden, RegistryUnavailable.
    """
    key = _Part("key", options.key_format, options.key_schema, options.key_schema_id, inline.key)
    value = _Part("value", options.value_format, options.value_schema, options.value_schema_id, inline.value)
    found = [_found(source, topic, part) for part in (key, value)]
    ids = [each.registered(source, registrar) if isinstance(each, _New) else each for each in found]
    for schema_id in ids:
        if schema_id is not None:
            source.schema(schema_id)
    return msgspec.structs.replace(options, key_schema_id=ids[0], value_schema_id=ids[1])


def with_schemas(topic: str, options: Options, inline: InlineSchemas, api_key: ApiKey | None) -> Options:
    """Return the options with schema ids resolved. Registers inline schemas if that is allowed."""

    def registrar() -> str | None:
        if api_key is not None and not api_key.has_scope(Scope.SCHEMAS):
            return None
        if not topic_settings.registers_schemas(topic):
            return None
        return "" if api_key is None else api_key.prefix

    if not needs_schema(options) and inline == InlineSchemas():
        return options
    return resolve(source_for(api_key), topic, options, inline, registrar)


def needs_schema(options: Options) -> bool:
    """Whether keys or values are written with a schema."""
    return FORMATS[options.key_format].needs_schema or FORMATS[options.value_format].needs_schema


class _Part(msgspec.Struct, frozen=True):
    name: str
    format: str
    schema: str
    schema_id: int | None
    inline: bytes | None


class _New(msgspec.Struct, frozen=True):
    """A valid inline schema that is not registered under its subject."""

    subject: str
    text: str

    def registered(self, source: SchemaSource, registrar: Registrar) -> int:
        by = registrar()
        if by is None:
            raise RegistrationForbidden(self.subject)
        found = source.id_of_text(self.subject, self.text, by)
        assert found is not None
        return found


def _found(source: SchemaSource, topic: str, part: _Part) -> int | _New | None:
    """Find one part's schema: the given id, the inline schema, the named subject's, or the topic's own."""
    if not FORMATS[part.format].needs_schema:
        if part.inline is not None:
            raise InvalidBody(f"$.{part.name}Schema requires {part.name}.format={WITH_SCHEMA}")
        return None
    if part.schema_id is not None:
        source.schema(part.schema_id)
        return part.schema_id
    if part.inline is not None:
        return _inline(source, topic, part, _text_of(part))
    if part.schema:
        return _named_id(source, part)
    subject = subject_name(topic, part.name, None)
    found = None if subject is None else source.id_of(subject, None)
    if found is None:
        raise SchemaRequired(part.name, part.format, subject)
    return found


def _named_id(source: SchemaSource, part: _Part) -> int:
    """Return the id for a subject with an optional version: `user-event` or `user-event:3`."""
    subject, _, version = part.schema.rpartition(":")
    if not subject or not version.isascii() or not version.isdigit():
        subject, version = part.schema, ""
    if len(version) > 9:
        raise InvalidParameter(f"{part.name}.schema: {version} is not a valid version")
    found = source.id_of(subject, int(version) if version else None)
    if found is None:
        raise SchemaNotFound(
            f"there is no version {version} of subject {subject!r}" if version else f"there is no subject {subject!r}"
        )
    return found


def _inline(source: SchemaSource, topic: str, part: _Part, text: str) -> int | _New:
    subject = part.schema or subject_name(topic, part.name, text)
    if subject is None:
        raise InvalidSchema(f"$.{part.name}Schema has no name to derive a subject from; add {part.name}.schema=SUBJECT")
    found = source.id_of_text(subject, text, None)
    if found is not None:
        return found
    compile_text(text)
    return _New(subject, text)


def _text_of(part: _Part) -> str:
    """Return an inline schema's text: the JSON itself, or the content of a JSON string that contains JSON."""
    assert part.inline is not None
    text = part.inline.decode()
    if not text.startswith('"'):
        return text
    try:
        held = msgspec.json.decode(text, type=str)
    except (msgspec.DecodeError, UnicodeError):
        raise InvalidSchema(f"$.{part.name}Schema contains an unpaired surrogate") from None
    # "string" is a schema by itself. A schema given as text starts with a JSON character.
    return held if held.lstrip()[:1] in ("{", "[", '"') else text


def subject_name(topic: str, part: str, text: str | None) -> str | None:
    """Return the subject by TAKHIN_SUBJECT_NAME_STRATEGY, or None if that needs a record name and there is none."""
    strategy = settings.TAKHIN_SUBJECT_NAME_STRATEGY
    if strategy == TOPIC:
        return f"{topic}-{part}"
    name = None if text is None else _full_name(text)
    if name is None or strategy == RECORD:
        return name
    return f"{topic}-{name}"


def _full_name(text: str) -> str | None:
    try:
        schema = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    while isinstance(schema, dict) and isinstance(schema.get("type"), dict):
        schema = schema["type"]
    if not isinstance(schema, dict) or schema.get("type") not in NAMED:
        return None
    try:
        return full_name(schema, "")
    except InvalidAvroSchema:
        return None
