"""The dialects in which clients write produce requests. A new way to send records is a new row of this table."""

from collections.abc import Callable
from typing import Any

import msgspec

from core.api import bodies
from producer.models import Outcomes
from producer.options import Options
from producer.pipeline import decode
from producer.pipeline.inbound import Decoded

NDJSON_TYPES = (
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/jsonlines",
    "application/x-jsonlines",
)


class Dialect(msgspec.Struct, frozen=True):
    """How to read a request's body, and how to respond if at least one record was written.

    The request's row has the dialect's name, so that a worker reads the body as it was sent. The first content type
    is the one that documentation names. With `has_topics`, each record names its topic.
    """

    name: str
    content_types: tuple[str, ...]
    decode: Callable[[bytes], Decoded]
    respond: Callable[[Outcomes, Options], dict[str, Any]]
    has_topics: bool = False


def _offsets(outcomes: Outcomes, options: Options) -> dict[str, Any]:
    return {"offsets": msgspec.Raw(outcomes.json), **options.schema_ids()}


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect("json", bodies.JSON_TYPES, decode.envelope, _offsets),
        Dialect("ndjson", NDJSON_TYPES, decode.lines, _offsets),
        Dialect("topics-json", bodies.JSON_TYPES, decode.topics_envelope, _offsets, has_topics=True),
        Dialect("topics-ndjson", NDJSON_TYPES, decode.topics_lines, _offsets, has_topics=True),
    )
}
_BY_CONTENT_TYPE = {
    has_topics: {
        name: dialect
        for dialect in DIALECTS.values()
        for name in dialect.content_types
        if dialect.has_topics is has_topics
    }
    for has_topics in (False, True)
}


def dialect_of(content_type: str, *, has_topics: bool) -> Dialect:
    """Return the dialect of a Content-Type header. Raises UnsupportedContentType."""
    dialects = _BY_CONTENT_TYPE[has_topics]
    return dialects[bodies.media_type(content_type, dialects)]
