"""Random Avro schemas, and values of them in three forms: as JSON, as fastavro's datum, and as fastavro reads it."""

import base64
import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]


@dataclass
class Value:
    """`datum` has the underlying values, and each union's value in a tuple with its branch."""

    json: Any
    datum: Any
    read: Any


@dataclass
class Kind:
    """A schema, and how its values are drawn; `depth` bounds those of a recursive type."""

    schema: Any
    values: Callable[[int], Strategy]
    tag: str


def same(item: Any) -> Value:
    return Value(item, item, item)


def stored(shown: Any, item: Any) -> Value:
    return Value(shown, item, item)


def scalar(schema: Any, values: Strategy) -> Kind:
    return Kind(schema, lambda depth: values, schema["type"] if isinstance(schema, dict) else schema)


def number(item: float) -> Value:
    if math.isfinite(item):
        return same(item)
    # There are many NaNs in binary, and one in text.
    return stored("NaN", math.nan) if math.isnan(item) else stored(f"{'-' if item < 0 else ''}Infinity", item)


def blob(item: bytes) -> Value:
    return stored(base64.b64encode(item).decode(), item)


def ticks(moment: datetime, unit: timedelta, places: int, zone: str) -> Value:
    whole = (moment - datetime(1970, 1, 1)) // unit
    shown = (datetime(1970, 1, 1) + whole * unit).isoformat(timespec={3: "milliseconds", 6: "microseconds"}[places])
    return stored(shown + zone, whole)


INTS = st.integers(-(2**31), 2**31 - 1)
LONGS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
MOMENTS = st.datetimes()
MILLI, MICRO = timedelta(milliseconds=1), timedelta(microseconds=1)

SCALARS = [
    scalar("null", st.just(same(None))),
    scalar("boolean", st.booleans().map(same)),
    scalar("int", INTS.map(same)),
    scalar("long", LONGS.map(same)),
    scalar("float", st.floats(width=32).map(number)),
    scalar("double", st.floats().map(number)),
    scalar("string", TEXTS.map(same)),
    scalar("bytes", st.binary(max_size=8).map(blob)),
    scalar(
        {"type": "int", "logicalType": "date"},
        st.dates().map(lambda day: stored(day.isoformat(), (day - date(1970, 1, 1)).days)),
    ),
    scalar({"type": "int", "logicalType": "date"}, INTS.map(same)),
    scalar(
        {"type": "int", "logicalType": "time-millis"},
        st.integers(0, 86_399_999).map(
            lambda number: stored((datetime(1, 1, 1) + number * MILLI).time().isoformat(), number)
        ),
    ),
    scalar(
        {"type": "long", "logicalType": "timestamp-millis"},
        MOMENTS.map(lambda moment: ticks(moment, MILLI, 3, "Z")),
    ),
    scalar({"type": "long", "logicalType": "timestamp-micros"}, MOMENTS.map(lambda at: ticks(at, MICRO, 6, "+00:00"))),
    scalar({"type": "long", "logicalType": "timestamp-nanos"}, LONGS.map(same)),
    scalar({"type": "long", "logicalType": "local-timestamp-micros"}, MOMENTS.map(lambda at: ticks(at, MICRO, 6, ""))),
    scalar({"type": "string", "logicalType": "uuid"}, st.uuids().map(str).map(same)),
]


@st.composite
def decimals(draw: st.DrawFn, names: "count[int]") -> Kind:
    precision = draw(st.integers(1, 30))
    scale = draw(st.integers(0, precision))
    schema: dict[str, Any] = {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}
    size = None
    if draw(st.booleans()):
        size = 16
        schema |= {"type": "fixed", "name": f"F{next(names)}", "size": size}

    def value(unscaled: int) -> Value:
        length = size or 1
        while not -(1 << 8 * length - 1) <= unscaled < 1 << 8 * length - 1:
            length += 1
        shown = format(Decimal((unscaled < 0, tuple(map(int, str(abs(unscaled)))), -scale)), "f")
        return stored(shown, unscaled.to_bytes(length, "big", signed=True))

    values = st.integers(1 - 10**precision, 10**precision - 1).map(value)
    return Kind(schema, lambda depth: values, schema.get("name", "bytes"))


@st.composite
def named(draw: st.DrawFn, names: "count[int]") -> Kind:
    """Enums, fixed, and durations."""
    name = f"{draw(st.sampled_from(['', 'com.acme.']))}T{next(names)}"
    which = draw(st.integers(0, 2))
    if which == 0:
        symbols = draw(st.lists(st.from_regex(r"[A-Z]{1,3}", fullmatch=True), min_size=1, max_size=4, unique=True))
        return Kind(
            {"type": "enum", "name": name, "symbols": symbols}, lambda _: st.sampled_from(symbols).map(same), name
        )
    if which == 1:
        size = draw(st.integers(0, 5))
        blobs = st.binary(min_size=size, max_size=size).map(blob)
        return Kind({"type": "fixed", "name": name, "size": size}, lambda depth: blobs, name)
    parts = st.tuples(*[st.integers(0, 2**32 - 1)] * 3)
    spans = parts.map(
        lambda each: stored(
            dict(zip(("months", "days", "milliseconds"), each, strict=True)), struct.pack("<III", *each)
        )
    )
    return Kind({"type": "fixed", "name": name, "size": 12, "logicalType": "duration"}, lambda depth: spans, name)


def arrays(items: Kind) -> Kind:
    def joined(values: list[Value]) -> Value:
        return Value([v.json for v in values], [v.datum for v in values], [v.read for v in values])

    return Kind(
        {"type": "array", "items": items.schema},
        lambda depth: st.lists(items.values(depth), max_size=3).map(joined),
        "array",
    )


def members(values: dict[str, Value]) -> Value:
    return Value(
        {name: value.json for name, value in values.items()},
        {name: value.datum for name, value in values.items()},
        {name: value.read for name, value in values.items()},
    )


def maps(kind: Kind) -> Kind:
    # A branch's tag as the only key is what makes the untagged form ambiguous.
    keys = TEXTS | st.sampled_from(["map", "string", "array", "int"])
    return Kind(
        {"type": "map", "values": kind.schema},
        lambda depth: st.dictionaries(keys, kind.values(depth), max_size=3).map(members),
        "map",
    )


def unions(kinds: list[Kind]) -> Kind:
    by_tag = {kind.tag: kind for kind in kinds if kind.tag != "union"}
    branches = list(by_tag.values()) or [SCALARS[0]]

    def tagged(tag: str) -> Callable[[Value], Value]:
        return lambda value: Value(None if tag == "null" else {tag: value.json}, (tag, value.datum), value.read)

    return Kind(
        [branch.schema for branch in branches],
        lambda depth: st.one_of([branch.values(depth).map(tagged(branch.tag)) for branch in branches]),
        "union",
    )


@st.composite
def records(draw: st.DrawFn, inner: Strategy, names: "count[int]") -> Kind:
    """With fields of any kind, and now and then one of the record itself."""
    name = f"{draw(st.sampled_from(['', 'com.acme.']))}R{next(names)}"
    fields = {f"f{place}": kind for place, kind in enumerate(draw(st.lists(inner, max_size=3)))}
    recursive = draw(st.booleans())
    schema = {
        "type": "record",
        "name": name,
        "fields": [{"name": field, "type": kind.schema} for field, kind in fields.items()],
    }
    if recursive:
        schema["fields"].append({"name": "next", "type": ["null", name]})

    def values(depth: int) -> Strategy:
        drawn = {field: kind.values(depth) for field, kind in fields.items()}
        if recursive:
            end = st.just(Value(None, ("null", None), None))
            drawn["next"] = end if depth == 0 else end | st.deferred(lambda: values(depth - 1)).map(further)
        return st.fixed_dictionaries(drawn).map(members)

    def further(value: Value) -> Value:
        return Value({name: value.json}, (name, value.datum), value.read)

    return Kind(schema, values, name)


@st.composite
def kinds(draw: st.DrawFn) -> Kind:
    names = count()
    leaves = st.sampled_from(SCALARS) | decimals(names) | named(names)
    nested = st.recursive(
        leaves,
        lambda inner: st.one_of(
            inner.map(arrays),
            inner.map(maps),
            st.lists(inner, min_size=1, max_size=4).map(unions),
            records(inner, names),
        ),
        max_leaves=8,
    )
    return draw(nested.filter(defined_once))


def defined_once(kind: Kind) -> bool:
    """A kind that was drawn before may be drawn again, but a name is defined only once."""
    found = json.dumps(kind.schema)
    return all(found.count(f'"name": "{name}"') == 1 for name in names_in(kind.schema))


def names_in(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(names_in, schema)) if schema else set()
    if not isinstance(schema, dict):
        return set()
    inner = [schema.get("items"), schema.get("values"), *(field["type"] for field in schema.get("fields", ()))]
    own = {schema["name"]} if "name" in schema else set()
    return own | names_in(inner)


def underlying(schema: Any) -> Any:
    """The schema without its logical types."""
    if isinstance(schema, list):
        return [underlying(branch) for branch in schema]
    if isinstance(schema, dict):
        return {
            key: underlying(part) if key != "name" else part for key, part in schema.items() if key != "logicalType"
        }
    return schema
