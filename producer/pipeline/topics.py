"""The options of each topic of a request to several."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from core.api.errors import InvalidParameter
from producer.errors import Overloaded, TooManyTopics
from producer.models import ApiKey
from producer.options import Options
from producer.pipeline import parameters
from producer.pipeline.inbound import NO_SCHEMAS, Decoded, InlineSchemas, TopicOptions
from producer.pipeline.schemas import with_schemas

# Each may need a look for its schemas, and a transaction locks the partitions of all.
MOST_TOPICS = 100


def names_of(decoded: Decoded) -> list[str]:
    """Return the topics in the order of their first records. Raises TooManyTopics."""
    names = list(dict.fromkeys(decoded.topics))
    if len(names) > MOST_TOPICS:
        raise TooManyTopics(f"a request may have at most {MOST_TOPICS} topics, this one has {len(names)}")
    return names


def check_time(until: float) -> None:
    """Raise Overloaded if it is later than `until`, on the monotonic clock."""
    if time.monotonic() > until:
        raise Overloaded("finding the topics and schemas of this request takes too long; send fewer topics at once")


def with_topics(
    names: Sequence[str], decoded: Decoded, chosen: Options, api_key: ApiKey | None, until: float
) -> Options:
    """Return the options with those of each of these topics, and the schema ids of each resolved.

    Raises InvalidParameter, Overloaded, and whatever `with_schemas` raises.
    """
    found: list[tuple[str, Options]] = []
    for name in names:
        check_time(until)
        options, inline = _given(name, chosen, decoded.topic_options.get(name))
        found.append((name, with_schemas(name, options, inline, api_key)))
    return msgspec.structs.replace(chosen, topics=tuple(found))


def _given(name: str, chosen: Options, given: TopicOptions | None) -> tuple[Options, InlineSchemas]:
    """Return the query's options with what the body says of this topic."""
    if given is None:
        return chosen, NO_SCHEMAS
    place = f"$.topics.{name}"
    changes: dict[str, Any] = {}
    inline: dict[str, bytes] = {}
    for part in ("key", "value"):
        form, schema = getattr(given, f"{part}Format"), bytes(getattr(given, f"{part}Schema"))
        schema_id = getattr(given, f"{part}SchemaId")
        if form is not UNSET:
            changes[f"{part}_format"] = parameters.read(f"{part}_format", f"{place}.{part}Format", form)
        if schema_id is not UNSET:
            read = parameters.read(f"{part}_schema_id", f"{place}.{part}SchemaId", str(schema_id))
            changes |= {f"{part}_schema_id": read, f"{part}_schema": ""}
        if (subject := _subject(schema)) is not None:
            read = parameters.read(f"{part}_schema", f"{place}.{part}Schema", subject)
            changes |= {f"{part}_schema": read, f"{part}_schema_id": changes.get(f"{part}_schema_id")}
        elif schema != b"null":
            inline[part] = schema
    options = msgspec.structs.replace(chosen, **changes)
    try:
        parameters.check_schemas(options)
    except InvalidParameter as error:
        raise InvalidParameter(f"{place}: {error}") from None
    return options, InlineSchemas(**inline)


def _subject(schema: bytes) -> str | None:
    """Return the subject in a JSON string, or None if it is a schema. One may be sent as text, too."""
    if not schema.startswith(b'"'):
        return None
    text = msgspec.json.decode(schema, type=str)
    return None if text.lstrip()[:1] in ("{", "[", '"') else text
