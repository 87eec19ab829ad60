"""For random schemas and values: what JSON says is what fastavro reads, and what we show we take back."""

import io
import json
import math
from pprint import pformat
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.avro_json import AvroMismatch, AvroSchema
from tests.avro_schemas import Kind, Value, kinds, underlying

pytestmark = pytest.mark.no_database

settings.register_profile(
    "avro",
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
property_of = settings.get_profile("avro")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["f0", "f1", "next", "map", "int", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def kinds_with_values(draw: st.DrawFn) -> tuple[Kind, Value]:
    kind = draw(kinds())
    return kind, draw(kind.values(2))


def written(schema: Any, datum: Any) -> bytes:
    out = io.BytesIO()
    # Wrapped, as fastavro takes a tuple at the top for no union's; a record's bytes are those of its fields.
    wrapper = {"type": "record", "name": "Wrapper", "fields": [{"name": "f", "type": underlying(schema)}]}
    fastavro.schemaless_writer(out, fastavro.parse_schema(wrapper), {"f": datum})
    return out.getvalue()


def read(schema: Any, data: bytes) -> Any:
    return fastavro.schemaless_reader(io.BytesIO(data), fastavro.parse_schema(underlying(schema)), None)


@property_of
@given(kinds_with_values())
def test_json_becomes_what_fastavro_writes_and_reads(drawn: tuple[Kind, Value]) -> None:
    kind, value = drawn

    data = AvroSchema(kind.schema).encode(json.dumps(value.json).encode())

    assert data == written(kind.schema, value.datum)
    # NaN equals nothing, but its text does.
    assert pformat(read(kind.schema, data)) == pformat(value.read)


@property_of
@given(kinds_with_values(), st.booleans())
def test_what_is_shown_is_taken_back(drawn: tuple[Kind, Value], latin1: bool) -> None:
    kind, value = drawn
    data = written(kind.schema, value.datum)
    compiled = AvroSchema(kind.schema, latin1_bytes=latin1)

    shown = compiled.decode(data)

    assert compiled.encode(shown) == data
    assert compiled.decode(compiled.encode(shown)) == shown


@property_of
@given(kinds_with_values())
def test_a_default_is_what_stands_where_a_field_is_left_out(drawn: tuple[Kind, Value]) -> None:
    kind, value = drawn
    field = {"name": "f", "type": kind.schema, "default": as_default(value.datum)}

    compiled = AvroSchema({"type": "record", "name": "Wrapper", "fields": [field]})

    # Nothing in a default is tagged, so the first branch that fits may be another one.
    assert holds_union(kind.schema) or compiled.encode(b"{}") == written(kind.schema, value.datum)


@property_of
@given(kinds(), JSON)
def test_any_json_fits_or_is_a_mismatch(kind: Kind, value: Any) -> None:
    compiled = AvroSchema(kind.schema, ignore_unknown_fields=True)
    try:
        data = compiled.encode(json.dumps(value).encode())
    except AvroMismatch:
        return
    assert compiled.encode(compiled.decode(data)) == data


@property_of
@given(kinds(), st.binary(max_size=40))
def test_any_binary_is_read_or_a_mismatch(kind: Kind, data: bytes) -> None:
    compiled = AvroSchema(kind.schema)
    try:
        shown = compiled.decode(data)
    except AvroMismatch:
        return
    json.loads(shown)


def as_default(datum: Any) -> Any:
    """The datum as a default is written in a schema: bytes as Latin-1, and no tags."""
    if isinstance(datum, tuple):
        return as_default(datum[1])
    if isinstance(datum, bytes):
        return datum.decode("latin-1")
    if isinstance(datum, float) and not math.isfinite(datum):
        return json.dumps(datum)
    if isinstance(datum, list):
        return [as_default(item) for item in datum]
    if isinstance(datum, dict):
        return {name: as_default(member) for name, member in datum.items()}
    return datum


def holds_union(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return isinstance(schema, list)
    fields = (field["type"] for field in schema.get("fields", ()))
    return any(map(holds_union, (schema.get("items"), schema.get("values"), *fields)))
