"""Turn a produce request's query string into its options, once for each distinct query."""

import functools
from urllib.parse import parse_qsl

import msgspec

from producer.errors import (
    AvroNotConfigured,
    InvalidParameter,
    SchemaRequired,
    UnsupportedCompression,
    UnsupportedFormat,
)
from producer.formats import AVRO, FORMAT_NAMES
from topics.compression import CODECS

BOOLEANS = {"true": True, "false": False}
PARAMETERS = (
    "key.format",
    "value.format",
    "key.schema",
    "value.schema",
    "compression",
    "async",
    "strict",
)


class Options(msgspec.Struct, frozen=True):
    """How to read, partition and store the records of one request."""

    key_format: str = "json"
    value_format: str = "json"
    key_schema: str = ""
    value_schema: str = ""
    compression: str = "none"
    is_async: bool = False
    strict: bool = False


@functools.lru_cache(maxsize=1024)
def parse(query: str) -> Options:
    """Raises InvalidParameter or one of its kinds, naming the parameter and what it may be."""
    given: dict[str, str] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        raise InvalidParameter("the query string is not valid percent-encoded UTF-8") from None
    for name, value in pairs:
        if name not in PARAMETERS:
            raise InvalidParameter(f"unknown parameter {name!r}; known are {', '.join(PARAMETERS)}")
        if name in given:
            raise InvalidParameter(f"parameter {name!r} stands more than once")
        if "\0" in value:
            raise InvalidParameter(f"parameter {name!r} holds a null character")
        given[name] = value
    options = Options(
        key_format=given.get("key.format", "json"),
        value_format=given.get("value.format", "json"),
        key_schema=given.get("key.schema", ""),
        value_schema=given.get("value.schema", ""),
        compression=given.get("compression", "none"),
        is_async=_boolean("async", given.get("async", "false")),
        strict=_boolean("strict", given.get("strict", "false")),
    )
    _judge(options)
    return options


def _boolean(name: str, value: str) -> bool:
    if value not in BOOLEANS:
        raise InvalidParameter(f"{name} must be true or false, got {value!r}")
    return BOOLEANS[value]


def _judge(options: Options) -> None:
    parts = (("key", options.key_format, options.key_schema), ("value", options.value_format, options.value_schema))
    for part, name, _ in parts:
        if name not in FORMAT_NAMES:
            raise UnsupportedFormat(f"{part}.format", name, ", ".join(FORMAT_NAMES))
    if options.compression not in CODECS:
        raise UnsupportedCompression(options.compression, ", ".join(CODECS))
    for part, name, schema in parts:
        if name == AVRO:
            if not schema:
                raise SchemaRequired(part)
            raise AvroNotConfigured(f"{part}.format=avro needs a schema registry, and this version has none")
