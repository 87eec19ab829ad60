"""The query parameters of a produce request. OpenAPI, the admin and the README follow this table."""

import functools
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from core.api.errors import InvalidParameter
from producer.errors import UnsupportedCompression, UnsupportedFormat
from producer.options import Options
from producer.pipeline.formats import FORMATS, WITH_SCHEMA
from topics.log.compression import CODECS

# The wire format stores an id in four bytes, and Java reads them as signed.
MAX_SCHEMA_ID = 2**31 - 1
BOOLEANS = {"true": True, "false": False}


class Parameter(msgspec.Struct, frozen=True):
    """A query parameter, and the field of Options that it sets.

    `read` gets the parameter's name and text, and raises InvalidParameter. Without `default`, the parameter may be
    left out without a value in its place. `minimum` and `maximum` are those of a whole number.
    """

    name: str
    option: str
    read: Callable[[str, str], Any]
    help: str
    default: str = ""
    values: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None


def _format(name: str, text: str) -> str:
    if text not in FORMATS:
        raise UnsupportedFormat(name, text, ", ".join(FORMATS))
    return text


def _codec(name: str, text: str) -> str:
    if text not in CODECS:
        raise UnsupportedCompression(text, ", ".join(CODECS))
    return text


def _boolean(name: str, text: str) -> bool:
    """Read a boolean in any case, because Python clients send `True`."""
    if text.lower() not in BOOLEANS:
        raise InvalidParameter(f"{name} must be true or false, got {text!r}")
    return BOOLEANS[text.lower()]


def _subject(name: str, text: str) -> str:
    if not text:
        raise InvalidParameter(f"{name} must be SUBJECT or SUBJECT:VERSION, got ''")
    return text


def _schema_id(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > MAX_SCHEMA_ID:
        raise InvalidParameter(f"{name} must be a whole number from 0 to {MAX_SCHEMA_ID}, got {text!r}")
    return int(text)


def _milliseconds(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise InvalidParameter(f"{name} must be a whole number of milliseconds, at least 1, got {text!r}")
    return int(text)


_FORMAT = "How the JSON of {part}s becomes bytes; `binary` is base64."
_SCHEMA = (
    f"With `{{part}}.format={WITH_SCHEMA}`: SUBJECT, for its latest version, or SUBJECT:VERSION. The default is the "
    "inline schema, or else the topic's own subject."
)
_ID = f"With `{{part}}.format={WITH_SCHEMA}`: the schema's id."
PARAMETERS = (
    *(
        Parameter(f"{part}.format", f"{part}_format", _format, _FORMAT.format(part=part), "json", values=tuple(FORMATS))
        for part in ("key", "value")
    ),
    *(Parameter(f"{part}.schema", f"{part}_schema", _subject, _SCHEMA.format(part=part)) for part in ("key", "value")),
    *(
        Parameter(
            f"{part}.schema.id",
            f"{part}_schema_id",
            _schema_id,
            _ID.format(part=part),
            minimum=0,
            maximum=MAX_SCHEMA_ID,
        )
        for part in ("key", "value")
    ),
    Parameter("compression", "compression", _codec, "The codec of the stored batch.", "none", values=tuple(CODECS)),
    Parameter(
        "async",
        "is_async",
        _boolean,
        "Return 202 at once, as with the header `Prefer: respond-async`. Get the results from the request's status.",
        "false",
        values=tuple(BOOLEANS),
    ),
    Parameter("strict", "strict", _boolean, "Write nothing if any record fails.", "false", values=tuple(BOOLEANS)),
    Parameter(
        "atomic",
        "atomic",
        _boolean,
        "Write all records in one transaction, or none. On Kafka it requires `TAKHIN_KAFKA_EXACTLY_ONCE`.",
        "false",
        values=tuple(BOOLEANS),
    ),
    Parameter(
        "timeout",
        "timeout_ms",
        _milliseconds,
        "Milliseconds to wait for the log; at most `TAKHIN_PRODUCE_TIMEOUT`, which is the default.",
        minimum=1,
    ),
)
_BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}
_BY_OPTION = {parameter.option: parameter for parameter in PARAMETERS}


@functools.lru_cache(maxsize=1024)
def parse(query: str) -> Options:
    """Parse a query string. Raises InvalidParameter or a subclass, which names the parameter and what it accepts."""
    options = Options(
        **{_BY_NAME[name].option: _BY_NAME[name].read(name, text) for name, text in _given(query).items()}
    )
    check_schemas(options)
    return options


def read(option: str, name: str, value: str) -> Any:
    """Return the value of an option that was given elsewhere, under another name. Raises InvalidParameter."""
    return _BY_OPTION[option].read(name, value)


def check_schemas(options: Options) -> None:
    """Raise InvalidParameter if a schema is given twice, or for a format that has none."""
    _check_schema("key", options.key_format, options.key_schema, options.key_schema_id)
    _check_schema("value", options.value_format, options.value_schema, options.value_schema_id)


def _given(query: str) -> dict[str, str]:
    given: dict[str, str] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        raise InvalidParameter("the query string is not valid percent-encoded UTF-8") from None
    for name, value in pairs:
        if name not in _BY_NAME:
            raise InvalidParameter(f"unknown parameter {name!r}; expected one of {', '.join(_BY_NAME)}")
        if name in given:
            raise InvalidParameter(f"parameter {name!r} appears more than once")
        if "\0" in value:
            raise InvalidParameter(f"parameter {name!r} contains a null character")
        given[name] = value
    return given


def _check_schema(part: str, name: str, schema: str, schema_id: int | None) -> None:
    if schema and schema_id is not None:
        raise InvalidParameter(f"use {part}.schema or {part}.schema.id, not both")
    if (schema or schema_id is not None) and not FORMATS[name].needs_schema:
        given = f"{part}.schema" if schema else f"{part}.schema.id"
        raise InvalidParameter(f"{given} requires {part}.format={WITH_SCHEMA}, got {name}")


def shown(options: Options) -> list[tuple[str, str]]:
    """Return the parameters that have a value, as text."""
    values = ((parameter.name, getattr(options, parameter.option)) for parameter in PARAMETERS)
    return [
        (name, str(value).lower() if isinstance(value, bool) else str(value))
        for name, value in values
        if value not in ("", None)
    ]
