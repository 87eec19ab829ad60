"""Parse a produce request's query string into options, cached by query string."""

import functools
import re
from urllib.parse import parse_qsl

import msgspec

from core.api.errors import InvalidParameter
from producer.errors import UnsupportedCompression, UnsupportedFormat
from producer.formats import AVRO, FORMAT_NAMES
from topics.log.compression import CODECS

# The wire format stores an id in four bytes, and Java reads them as signed.
MAX_SCHEMA_ID = 2**31 - 1
BOOLEANS = {"true": True, "false": False}
PARAMETERS = (
    "key.format",
    "value.format",
    "key.schema",
    "value.schema",
    "key.schema.id",
    "value.schema.id",
    "compression",
    "async",
    "strict",
    "timeout",
)


class Options(msgspec.Struct, frozen=True):
    """How to read, partition and store the records of one request.

    `key_schema` is SUBJECT or SUBJECT:VERSION. `key_schema_id` is a schema's id, and set for every Avro key once the
    request's schemas are resolved. `timeout_ms` is how long to wait for the log.
    """

    key_format: str = "json"
    value_format: str = "json"
    key_schema: str = ""
    value_schema: str = ""
    key_schema_id: int | None = None
    value_schema_id: int | None = None
    compression: str = "none"
    is_async: bool = False
    strict: bool = False
    timeout_ms: int | None = None


@functools.lru_cache(maxsize=1024)
def parse(query: str) -> Options:
    """Raises InvalidParameter or a subclass, which names the parameter and what it accepts."""
    given: dict[str, str] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        raise InvalidParameter("the query string is not valid percent-encoded UTF-8") from None
    for name, value in pairs:
        if name not in PARAMETERS:
            raise InvalidParameter(f"unknown parameter {name!r}; expected one of {', '.join(PARAMETERS)}")
        if name in given:
            raise InvalidParameter(f"parameter {name!r} appears more than once")
        if "\0" in value:
            raise InvalidParameter(f"parameter {name!r} contains a null character")
        given[name] = value
    options = Options(
        key_format=given.get("key.format", "json"),
        value_format=given.get("value.format", "json"),
        key_schema=given.get("key.schema", ""),
        value_schema=given.get("value.schema", ""),
        key_schema_id=_schema_id("key.schema.id", given),
        value_schema_id=_schema_id("value.schema.id", given),
        compression=given.get("compression", "none"),
        is_async=_boolean("async", given.get("async", "false")),
        strict=_boolean("strict", given.get("strict", "false")),
        timeout_ms=_timeout(given.get("timeout")),
    )
    _judge(options)
    return options


def _boolean(name: str, value: str) -> bool:
    """Parse a boolean in any case, because Python clients send `True`."""
    if value.lower() not in BOOLEANS:
        raise InvalidParameter(f"{name} must be true or false, got {value!r}")
    return BOOLEANS[value.lower()]


def _timeout(value: str | None) -> int | None:
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) == 0:
        raise InvalidParameter(f"timeout must be a whole number of milliseconds, at least 1, got {value!r}")
    return int(value)


def _schema_id(name: str, given: dict[str, str]) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", value) or int(value) > MAX_SCHEMA_ID:
        raise InvalidParameter(f"{name} must be a whole number from 0 to {MAX_SCHEMA_ID}, got {value!r}")
    return int(value)


def _judge(options: Options) -> None:
    if options.compression not in CODECS:
        raise UnsupportedCompression(options.compression, ", ".join(CODECS))
    _judge_part("key", options.key_format, options.key_schema, options.key_schema_id)
    _judge_part("value", options.value_format, options.value_schema, options.value_schema_id)


def _judge_part(part: str, name: str, schema: str, schema_id: int | None) -> None:
    if name not in FORMAT_NAMES:
        raise UnsupportedFormat(f"{part}.format", name, ", ".join(FORMAT_NAMES))
    if schema and schema_id is not None:
        raise InvalidParameter(f"use {part}.schema or {part}.schema.id, not both")
    if (schema or schema_id is not None) and name != AVRO:
        raise InvalidParameter(f"{part}.schema requires {part}.format=avro, got {name}")
