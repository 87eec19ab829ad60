"""Decide which schema ids a request means, once and before a record is looked at."""

from collections.abc import Callable

import msgspec
from django.conf import settings

from producer.decoding import InlineSchemas
from producer.errors import (
    InvalidBody,
    InvalidParameter,
    InvalidSchema,
    RegistrationForbidden,
    SchemaNotFound,
    SchemaRequired,
)
from producer.formats import AVRO
from producer.options import Options
from producer.schemas.sources import SchemaSource

TOPIC, RECORD, TOPIC_RECORD = "topic", "record", "topic-record"
STRATEGIES = (TOPIC, RECORD, TOPIC_RECORD)
# Who may register for this request, by name; None where nobody may.
Registrar = Callable[[], str | None]


def resolve(source: SchemaSource, topic: str, options: Options, inline: InlineSchemas, registrar: Registrar) -> Options:
    """The options with the ids of the schemas they mean.

    Raises SchemaRequired, SchemaNotFound, InvalidSchema, RegistrationForbidden, RegistryUnavailable.
    """
    key = _Part("key", options.key_format, options.key_schema, options.key_schema_id, inline.key)
    value = _Part("value", options.value_format, options.value_schema, options.value_schema_id, inline.value)
    return msgspec.structs.replace(
        options,
        key_schema_id=_id_of(source, topic, key, registrar),
        value_schema_id=_id_of(source, topic, value, registrar),
    )


class _Part(msgspec.Struct, frozen=True):
    name: str
    format: str
    schema: str
    schema_id: int | None
    inline: bytes | None


def _id_of(source: SchemaSource, topic: str, part: _Part, registrar: Registrar) -> int | None:
    """The schema id of one part: the given one, the inline schema's, the named subject's, the topic's own."""
    if part.format != AVRO:
        if part.inline is not None:
            raise InvalidBody(f"$.{part.name}Schema goes with {part.name}.format=avro")
        return None
    if part.schema_id is not None:
        source.schema(part.schema_id)
        return part.schema_id
    if part.inline is not None:
        return _inline_id(source, topic, part, _text_of(part), registrar)
    if part.schema:
        return _named_id(source, part)
    subject = subject_name(topic, part.name, None)
    found = None if subject is None else source.id_of(subject, None)
    if found is None:
        raise SchemaRequired(part.name, subject)
    return found


def _named_id(source: SchemaSource, part: _Part) -> int:
    """For `user-event` and `user-event:3`."""
    subject, _, version = part.schema.rpartition(":")
    if not subject or not version.isascii() or not version.isdigit():
        subject, version = part.schema, ""
    if len(version) > 9:
        raise InvalidParameter(f"{part.name}.schema: {version} is not a version")
    found = source.id_of(subject, int(version) if version else None)
    if found is None:
        raise SchemaNotFound(
            f"there is no version {version} of subject {subject!r}" if version else f"there is no subject {subject!r}"
        )
    return found


def _inline_id(source: SchemaSource, topic: str, part: _Part, text: str, registrar: Registrar) -> int:
    subject = part.schema or subject_name(topic, part.name, text)
    if subject is None:
        raise InvalidSchema(f"$.{part.name}Schema has no name to call its subject by; add {part.name}.schema=SUBJECT")
    found = source.id_of_text(subject, text, None)
    if found is None:
        by = registrar()
        if by is None:
            raise RegistrationForbidden(subject)
        found = source.id_of_text(subject, text, by)
    assert found is not None
    return found


def _text_of(part: _Part) -> str:
    """An inline schema's text: itself, or what the JSON string holds where that is JSON."""
    assert part.inline is not None
    text = part.inline.decode()
    if not text.startswith('"'):
        return text
    held = msgspec.json.decode(text, type=str)
    # "string" is a schema as it stands; a schema given as text starts as JSON does.
    return held if held.lstrip()[:1] in ("{", "[", '"') else text


def subject_name(topic: str, part: str, text: str | None) -> str | None:
    """The subject by TAKHIN_SUBJECT_NAME_STRATEGY; None where it needs a record's name and there is none."""
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
    if not isinstance(schema, dict) or not isinstance(schema.get("name"), str):
        return None
    name, namespace = schema["name"], schema.get("namespace")
    return f"{namespace}.{name}" if isinstance(namespace, str) and namespace and "." not in name else name
