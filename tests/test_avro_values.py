"""JSON text becomes Avro binary that fastavro reads, and every mismatch says where, what and why."""

import io
import json
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import fastavro
import pytest

from registry.avro_json import AvroMismatch, AvroSchema, Budget, InvalidAvroSchema, TooLarge

pytestmark = pytest.mark.no_database

ADDRESS = {"type": "record", "name": "com.acme.Address", "fields": [{"name": "zip", "type": "int"}]}
COLOR = {"type": "enum", "name": "com.acme.Color", "symbols": ["RED", "GREEN"]}
MD5 = {"type": "fixed", "name": "com.acme.Md5", "size": 4}
NODE = {
    "type": "record",
    "name": "Node",
    "fields": [{"name": "value", "type": "long"}, {"name": "next", "type": ["null", "Node"], "default": None}],
}


def record_of(**fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "fields": [{"name": name, "type": kind} for name, kind in fields.items()]}


def field_with(default: Any, kind: Any) -> dict[str, Any]:
    return {"type": "record", "name": "D", "fields": [{"name": "f", "type": kind, "default": default}]}


def logical(kind: str, logical_type: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": logical_type, **more}


def decimal(precision: int, scale: int, **more: Any) -> dict[str, Any]:
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale, **more}


def read(schema: Any, data: bytes) -> Any:
    stream = io.BytesIO(data)
    found = fastavro.schemaless_reader(stream, fastavro.parse_schema(schema), None)
    assert stream.read() == b""
    return found


DURATION = {"type": "fixed", "name": "Span", "size": 12, "logicalType": "duration"}
UUID_TEXT = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
NANOS = "2024-02-29T08:20:30.123456789Z"

FITS = [
    ("null", "null", None),
    ("boolean", "true", True),
    ("boolean", "false", False),
    ("int", "2147483647", 2**31 - 1),
    ("int", "-2147483648", -(2**31)),
    ("int", "-0", 0),
    ("long", "9223372036854775807", 2**63 - 1),
    ("long", "-9223372036854775808", -(2**63)),
    ("float", "1.5", 1.5),
    ("float", "1", 1.0),
    ("float", '"Infinity"', math.inf),
    ("double", "1.1", 1.1),
    ("double", "5", 5.0),
    ("double", "1e-400", 0.0),
    ("double", '"-Infinity"', -math.inf),
    ("string", '"Zürich 🙂\\u0000"', "Zürich 🙂\0"),
    ("string", '""', ""),
    ("bytes", '"AP/+"', b"\x00\xff\xfe"),
    ("bytes", '""', b""),
    (MD5, '"AQIDBA=="', b"\1\2\3\4"),
    (COLOR, '"GREEN"', "GREEN"),
    ({"type": "array", "items": "int"}, "[1, 2, 300]", [1, 2, 300]),
    ({"type": "array", "items": "int"}, "[]", []),
    ({"type": "map", "values": "long"}, '{"a": 1, "": 2}', {"a": 1, "": 2}),
    ({"type": "map", "values": "long"}, "{}", {}),
    ({"type": "string"}, '"x"', "x"),
    ({"type": {"type": "string"}}, '"x"', "x"),
    (record_of(a="int", b="string"), '{"b": "x", "a": 1}', {"a": 1, "b": "x"}),
    (record_of(), "{}", {}),
    (record_of(home=ADDRESS, work="com.acme.Address"), '{"home":{"zip":1},"work":{"zip":2}}', None),
    (NODE, '{"value": 1, "next": {"value": 2}}', {"value": 1, "next": {"value": 2, "next": None}}),
    # unions, untagged
    (["null", "string"], "null", None),
    (["null", "string"], '"x"', "x"),
    (["null", ADDRESS], '{"zip": 5}', {"zip": 5}),
    (["null", {"type": "array", "items": "int"}], "[1]", [1]),
    (["string", COLOR], '"RED"', "RED"),
    # unions, tagged
    (["null", "string"], '{"string": "x"}', "x"),
    (["null", "string"], '{"null": null}', None),
    (["null", "bytes"], '{"bytes": "YQ=="}', b"a"),
    (["null", ADDRESS], '{"com.acme.Address": {"zip": 5}}', {"zip": 5}),
    (["null", ADDRESS], '{"Address": {"zip": 5}}', {"zip": 5}),
    (["null", {"type": "array", "items": ["null", "int"]}], '{"array": [{"int": 1}, null, 2]}', [1, None, 2]),
    # both would do: the tag wins, as in the specification's JSON encoding
    (["string", {"type": "map", "values": "string"}], '{"string": "x"}', "x"),
    (["null", record_of(string="string"), "string"], '{"string": "x"}', "x"),
    (["null", {"type": "map", "values": "int"}], '{"map": {"a": 1}}', {"a": 1}),
    # only the untagged form would do
    (["string", {"type": "map", "values": "int"}], '{"string": 5}', {"string": 5}),
    (["null", {"type": "map", "values": "int"}], '{"map": 5}', {"map": 5}),
    # decimals
    (decimal(4, 2), '"1.10"', Decimal("1.10")),
    (decimal(4, 2), "1.1", Decimal("1.10")),
    (decimal(4, 2), "1", Decimal("1.00")),
    (decimal(4, 2), "-0.01", Decimal("-0.01")),
    (decimal(4, 2), "1.1000", Decimal("1.10")),
    (decimal(4, 2), "1e1", Decimal("10.00")),
    (decimal(4, 2), '"-1.28"', Decimal("-1.28")),
    (decimal(30, 0), "123456789012345678901234567890", Decimal("123456789012345678901234567890")),
    (decimal(30, 20), "1234567890.12345678901234567890", Decimal("1234567890.12345678901234567890")),
    (decimal(4, 2, type="fixed", name="Price", size=8), '"-99.99"', Decimal("-99.99")),
    # dates and times
    (logical("int", "date"), '"2024-02-29"', date(2024, 2, 29)),
    (logical("int", "date"), "19782", date(2024, 2, 29)),
    (logical("int", "time-millis"), '"10:20:30.123"', time(10, 20, 30, 123000)),
    (logical("int", "time-millis"), '"10:20"', time(10, 20)),
    (logical("int", "time-millis"), "1", time(0, 0, 0, 1000)),
    (logical("long", "time-micros"), '"23:59:59.999999"', time(23, 59, 59, 999999)),
    (
        logical("long", "timestamp-millis"),
        '"2024-02-29T10:20:30.123+02:00"',
        datetime(2024, 2, 29, 8, 20, 30, 123000, UTC),
    ),
    (
        logical("long", "timestamp-millis"),
        '"1969-12-31T23:59:59.9990Z"',
        datetime(1969, 12, 31, 23, 59, 59, 999000, UTC),
    ),
    (logical("long", "timestamp-millis"), "1", datetime(1970, 1, 1, 0, 0, 0, 1000, UTC)),
    (
        logical("long", "timestamp-micros"),
        '"2024-02-29 08:20:30,123456-0030"',
        datetime(2024, 2, 29, 8, 50, 30, 123456, UTC),
    ),
    (logical("long", "timestamp-nanos"), f'"{NANOS}"', 1709194830123456789),
    (logical("long", "local-timestamp-millis"), '"2024-02-29T08:20:30"', datetime(2024, 2, 29, 8, 20, 30)),
    (logical("long", "local-timestamp-micros"), '"2024-02-29T08:20:30.000001"', datetime(2024, 2, 29, 8, 20, 30, 1)),
    (logical("long", "local-timestamp-nanos"), '"1970-01-01T00:00:00.000000001"', 1),
    # uuid and duration
    (logical("string", "uuid"), f'"{UUID_TEXT}"', UUID(UUID_TEXT)),
    (logical("fixed", "uuid", name="Id", size=16), f'"{UUID_TEXT.upper()}"', UUID(UUID_TEXT).bytes),
    (DURATION, '{"months": 1, "days": 2, "milliseconds": 3}', b"\1\0\0\0\2\0\0\0\3\0\0\0"),
    (DURATION, '{"days": 4294967295}', b"\0\0\0\0\xff\xff\xff\xff\0\0\0\0"),
    (DURATION, '"P1Y2M1W3DT1H1M1.001S"', b"\x0e\0\0\0\x0a\0\0\0\xc9\xdc\x37\0"),
    (DURATION, '"AQAAAAIAAAADAAAA"', b"\1\0\0\0\2\0\0\0\3\0\0\0"),
    # logical types that are unknown, misplaced or invalid mean the underlying type
    (logical("int", "temperature"), "5", 5),
    (logical("string", "date"), '"x"', "x"),
    (logical("fixed", "duration", name="Short", size=4), '"AQIDBA=="', b"\1\2\3\4"),
    # defaults
    (field_with(5, "int"), "{}", {"f": 5}),
    (field_with(None, ["null", "int"]), "{}", {"f": None}),
    (field_with("x", ["null", "string"]), "{}", {"f": "x"}),
    (field_with("ÿ\0", "bytes"), "{}", {"f": b"\xff\0"}),
    (field_with("\1\2\3\4", MD5), "{}", {"f": b"\1\2\3\4"}),
    (field_with("RED", COLOR), "{}", {"f": "RED"}),
    (field_with([1], {"type": "array", "items": "int"}), "{}", {"f": [1]}),
    (field_with({"zip": 9}, ADDRESS), "{}", {"f": {"zip": 9}}),
    (field_with(1, "double"), "{}", {"f": 1.0}),
    (field_with(0, logical("int", "date")), "{}", {"f": date(1970, 1, 1)}),
    (field_with("\1", decimal(4, 2)), "{}", {"f": Decimal("0.01")}),
    (field_with({}, {**NODE, "fields": NODE["fields"][1:]}), "{}", {"f": {"next": None}}),
]


@pytest.mark.parametrize(("schema", "text", "expected"), FITS)
def test_what_fits(schema: Any, text: str, expected: Any) -> None:
    compiled = AvroSchema(schema)

    data = compiled.encode(text.encode())

    if schema != {"type": {"type": "string"}}:
        found = read(schema, data)
        assert expected is None or (found == expected and type(found) is type(expected))
    assert compiled.encode(compiled.decode(data)) == data


# Which branch a value takes: exact types before promotions, each in the schema's order.
BRANCHES = [
    (["double", "long"], "5", 1),
    (["double", "long"], "5.0", 0),
    (["long", "int"], "5", 0),
    (["int", "long"], "5", 0),
    (["int", "long"], "3000000000", 1),
    (["int", "double"], "3000000000", 1),
    (["float", "double"], "1.5", 0),
    (["float", "double"], "1.1", 1),
    (["float", "double"], "1e39", 1),
    (["float", "string"], "1.1", 0),
    (["double", "string"], '"NaN"', 1),
    (["double", "null"], '"NaN"', 0),
    (["bytes", "string"], '"YQ=="', 1),
    (["string", COLOR], '"RED"', 0),
    ([COLOR, "string"], '"RED"', 0),
    ([COLOR, "string"], '"BLUE"', 1),
    ([decimal(4, 2), "double"], "1.5", 1),
    ([decimal(4, 2), "double"], '"1.5"', 0),
    ([logical("int", "date"), "string"], '"2024-02-29"', 1),
    ([logical("int", "date"), "null"], '"2024-02-29"', 0),
    ([logical("string", "uuid"), COLOR], '"RED"', 1),
    ([record_of(a="double"), {**record_of(a="long"), "name": "S"}], '{"a": 5}', 1),
    ([record_of(a="int"), {**record_of(a="int", b="int"), "name": "S"}], '{"a": 5, "b": 5}', 1),
    ([record_of(a="int", b="int"), {**record_of(a="int"), "name": "S"}], '{"a": 5}', 1),
    ([DURATION, {"type": "map", "values": "int"}], '{"days": 5}', 1),
]


@pytest.mark.parametrize(("schema", "text", "place"), BRANCHES)
def test_the_branch_of_an_untagged_value(schema: Any, text: str, place: int) -> None:
    compiled = AvroSchema(schema)

    data = compiled.encode(text.encode())

    assert data[0] == 2 * place
    assert compiled.encode(compiled.decode(data)) == data


def test_a_field_too_many_is_ignored_only_where_no_branch_has_it() -> None:
    schema = [record_of(a="int"), {**record_of(a="int", b="int"), "name": "S"}]
    lenient = AvroSchema(schema, ignore_unknown_fields=True)

    assert lenient.encode(b'{"a": 1, "b": 2}')[0] == 2
    assert lenient.encode(b'{"a": 1, "c": 2}') == b"\x00\x02"


ORDER = record_of(
    address={**ADDRESS, "fields": [{"name": "zip", "type": "int"}]},
    lines={"type": "array", "items": {"type": "map", "values": ["null", "int", ADDRESS["name"]]}},
)
MISMATCHES = [
    ("null", "0", "expected null, got 0"),
    ("boolean", "1", "expected boolean, got 1"),
    ("int", '"x1"', 'expected int, got "x1"'),
    ("int", "true", "expected int, got true"),
    ("int", "1.0", "expected int, got 1.0"),
    ("int", "null", "expected int, got null"),
    ("int", "2147483648", "expected int, got 2147483648"),
    ("long", "-9223372036854775809", "expected long, got -9223372036854775809"),
    ("float", "1e39", "expected float, got 1e39"),
    ("double", "1e400", "expected double, got 1e400"),
    ("double", "1" + "0" * 309, f"expected double, got 1{'0' * 59}…"),
    ("double", '"inf"', 'expected double, got "inf"'),
    ("double", "true", "expected double, got true"),
    ("string", "5", "expected string, got 5"),
    ("string", '{"a": [1, {"b": null}]}', 'expected string, got {"a": [1, {"b": null}]}'),
    ("bytes", '"YQ"', 'expected bytes as base64, got "YQ"'),
    ("bytes", '"YR=="', 'expected bytes as base64, got "YR=="'),
    ("bytes", '"é"', 'expected bytes as base64, got "é"'),
    ("bytes", "[1]", "expected bytes as base64, got [1]"),
    (MD5, '"AQID"', 'expected com.acme.Md5 of 4 bytes, got "AQID"'),
    (COLOR, '"BLUE"', 'expected com.acme.Color (RED, GREEN), got "BLUE"'),
    (COLOR, "0", "expected com.acme.Color (RED, GREEN), got 0"),
    ({"type": "array", "items": "int"}, '[1, "2"]', '1: expected int, got "2"'),
    ({"type": "array", "items": "int"}, "{}", "expected array, got {}"),
    ({"type": "map", "values": "int"}, '{"a/b~c": "x"}', 'a~1b~0c: expected int, got "x"'),
    ({"type": "map", "values": "int"}, "[]", "expected map, got []"),
    (ADDRESS, "[5]", "expected com.acme.Address, got [5]"),
    (ADDRESS, "{}", "zip: expected int, got nothing"),
    (ADDRESS, '{"zip": 1, "zap": 2}', "zap: expected a field of com.acme.Address, got 2"),
    (ORDER, '{"address": {"zip": "x1"}, "lines": []}', 'address/zip: expected int, got "x1"'),
    (ORDER, '{"address": {"zip": 1}, "lines": [{}, {"a": {"zip": "x"}}]}', 'lines/1/a/zip: expected int, got "x"'),
    (
        ORDER,
        '{"address": {"zip": 1}, "lines": [{"a": {"Address": {"zip": "x"}}}]}',
        'lines/0/a/Address/zip: expected int, got "x"',
    ),
    (
        ORDER,
        '{"address": {"zip": 1}, "lines": [{"a": "x"}]}',
        'lines/0/a: expected null, int or com.acme.Address, got "x"',
    ),
    (["null", "int"], '"x"', 'expected null or int, got "x"'),
    (["null", "int"], "3000000000", "expected int, got 3000000000"),
    (["null", "string"], '{"string": 5}', "string: expected string, got 5"),
    (["null", "string"], '{"int": 5}', 'expected null or string, got {"int": 5}'),
    (["int", "long"], "9223372036854775808", "expected int or long, got 9223372036854775808"),
    (decimal(4, 2), "1.234", "expected decimal(4,2) with at most 2 digits after the point, got 1.234"),
    (decimal(4, 2), '"123.4"', 'expected decimal(4,2) with at most 2 digits before the point, got "123.4"'),
    (decimal(4, 2), "1e999999999", "expected decimal(4,2) with at most 2 digits before the point, got 1e999999999"),
    (decimal(4, 2), '" 1"', 'expected decimal(4,2), got " 1"'),
    (decimal(4, 2), '"NaN"', 'expected decimal(4,2), got "NaN"'),
    (decimal(4, 2), "true", "expected decimal(4,2), got true"),
    (logical("int", "date"), '"2023-02-29"', 'expected date (ISO 8601 or days since 1970), got "2023-02-29"'),
    (logical("int", "date"), "2147483648", "expected date (ISO 8601 or days since 1970), got 2147483648"),
    (
        logical("int", "time-millis"),
        '"10:20:30.1234"',
        'expected time-millis with at most 3 decimal places in the seconds, got "10:20:30.1234"',
    ),
    (logical("int", "time-millis"), '"24:00"', 'expected time-millis (ISO 8601 or an integer), got "24:00"'),
    (
        logical("long", "timestamp-millis"),
        '"2024-02-29T10:20:30"',
        'expected timestamp-millis (ISO 8601 with a zone such as Z, or an integer), got "2024-02-29T10:20:30"',
    ),
    (
        logical("long", "timestamp-nanos"),
        '"9999-12-31T00:00:00Z"',
        'expected timestamp-nanos (ISO 8601 with a zone such as Z, or an integer), got "9999-12-31T00:00:00Z"',
    ),
    (
        logical("long", "local-timestamp-micros"),
        '"2024-02-29T10:20:30Z"',
        'expected local-timestamp-micros (ISO 8601 without a zone, or an integer), got "2024-02-29T10:20:30Z"',
    ),
    (logical("string", "uuid"), '"x"', 'expected uuid, got "x"'),
    (DURATION, '{"days": -1}', 'expected duration with days from 0 to 4294967295, got {"days": -1}'),
    (DURATION, '{"days": "1"}', 'days: expected a number of days, got "1"'),
    (DURATION, '{"weeks": 1}', "weeks: expected months, days or milliseconds, got 1"),
    (DURATION, '"PT0.0001S"', 'expected duration with at most 3 decimal places in the seconds, got "PT0.0001S"'),
    (
        "string",
        '"\\ud800"',
        'expected JSON, got "\\ud800" (a lone surrogate, which UTF-8 cannot encode)',
    ),
]


@pytest.mark.parametrize(("schema", "text", "message"), MISMATCHES)
def test_what_does_not_fit(schema: Any, text: str, message: str) -> None:
    with pytest.raises(AvroMismatch) as caught:
        AvroSchema(schema).encode(text.encode())

    assert str(caught.value) == message


def test_a_mismatch_knows_its_parts_and_takes_a_place_outside() -> None:
    with pytest.raises(AvroMismatch) as caught:
        AvroSchema(ADDRESS).encode(b'{"zip": "x1"}')

    error = caught.value
    assert (error.pointer, error.expected, error.got) == ("zip", "int", '"x1"')
    assert str(error.within("address").within("value")) == 'value/address/zip: expected int, got "x1"'


def test_not_a_number_is_a_string() -> None:
    schema = AvroSchema("double")

    assert math.isnan(read("double", schema.encode(b'"NaN"')))
    assert schema.decode(schema.encode(b'"NaN"')) == b'"NaN"'


SHOWN = [
    ("bytes", '"AP8="', "\x00\xff"),
    (MD5, '"AQIDBA=="', "\1\2\3\4"),
]


@pytest.mark.parametrize(("schema", "base64", "latin1"), SHOWN)
def test_bytes_as_the_specification_has_them(schema: Any, base64: str, latin1: str) -> None:
    text = json.dumps(latin1).encode()
    data = AvroSchema(schema).encode(base64.encode())
    compiled = AvroSchema(schema, latin1_bytes=True)

    assert compiled.encode(text) == data
    assert json.loads(compiled.decode(data)) == latin1
    with pytest.raises(AvroMismatch, match="as Latin-1, got "):
        compiled.encode('"€"'.encode())


def test_unknown_fields_are_ignored_where_that_is_set() -> None:
    compiled = AvroSchema(ADDRESS, ignore_unknown_fields=True)

    assert compiled.encode(b'{"zap": [1], "zip": 5}') == b"\x0a"


def test_schemas_refer_to_others() -> None:
    line = {"type": "record", "name": "com.acme.Line", "fields": [{"name": "home", "type": "Address"}]}
    order = {
        "type": "record",
        "name": "Order",
        "namespace": "com.acme",
        "fields": [{"name": "lines", "type": {"type": "array", "items": "Line"}}, {"name": "ship", "type": "Address"}],
    }

    compiled = AvroSchema(order, [ADDRESS, line])

    assert compiled.encode(b'{"lines": [{"home": {"zip": 1}}], "ship": {"zip": 2}}') == b"\x02\x02\x00\x04"


def test_a_namespace_reaches_what_is_inside() -> None:
    inner = {"type": "enum", "name": "Color", "symbols": ["RED"]}
    schema = {"type": "record", "name": "R", "namespace": "a.b", "fields": [{"name": "f", "type": ["null", inner]}]}

    assert AvroSchema(schema).encode(b'{"f": {"a.b.Color": "RED"}}') == b"\x02\x00"


def test_a_short_tag_that_two_branches_share_is_none() -> None:
    schema = [{**ADDRESS, "name": "a.X"}, {**ADDRESS, "name": "b.X"}]

    assert AvroSchema(schema).encode(b'{"b.X": {"zip": 1}}') == b"\x02\x02"
    with pytest.raises(AvroMismatch, match=r"expected a\.X or b\.X"):
        AvroSchema(schema).encode(b'{"X": {"zip": 1}}')


DECODED = [
    (decimal(6, 3), b"\x02\xff", '"-0.001"'),
    (decimal(6, 0), b"\x02\x05", '"5"'),
    (logical("int", "date"), b"\xff\xff\xff\xff\x0f", "-2147483648"),
    (logical("int", "time-millis"), b"\x01", "-1"),
    (logical("long", "timestamp-millis"), b"\x00", '"1970-01-01T00:00:00.000Z"'),
    (logical("long", "local-timestamp-micros"), b"\x00", '"1970-01-01T00:00:00.000000"'),
    (DURATION, bytes(12), '{"months":0,"days":0,"milliseconds":0}'),
    (["null", {"type": "map", "values": "int"}], b"\x02\x02\x06map\x0a\x00", '{"map":{"map":5}}'),
    (["string", "bytes"], b"\x02\x02a", '{"bytes":"YQ=="}'),
    (["float", "double"], b"\x02" + bytes(8), '{"double":0.0}'),
    # blocks with their sizes, which our writer never makes
    ({"type": "array", "items": "int"}, b"\x03\x04\x02\x04\x02\x06\x00", "[1,2,3]"),
    ({"type": "map", "values": "int"}, b"\x01\x06\x02a\x02\x00", '{"a":1}'),
]


@pytest.mark.parametrize(("schema", "data", "text"), DECODED)
def test_how_binary_is_shown(schema: Any, data: bytes, text: str) -> None:
    assert AvroSchema(schema).decode(data) == text.encode()


UNREADABLE = [
    ("int", b"", "expected int, got the end of the data"),
    ("int", b"\x80", "expected int, got the end of the data"),
    ("int", b"\x00\x00", "expected the end of the data, got 1 more bytes"),
    ("int", b"\x80\x80\x80\x80\x10", "expected int, got 2147483648"),
    ("long", b"\xff" * 11, "expected long, got a number of more than 64 bits"),
    ("long", b"\xff" * 9 + b"\x7f", "expected long, got -590295810358705651712"),
    ("boolean", b"\x02", "expected boolean, got the byte 2"),
    ("string", b"\x01", "expected string, got a length of -1 bytes with only 0 left"),
    ("string", b"\xfe\xff\xff\xff\x0f", "expected string, got a length of 2147483647 bytes with only 0 left"),
    ("string", b"\x02\xff", "expected string, got bytes that are not UTF-8"),
    (COLOR, b"\x04", "expected com.acme.Color, got 2"),
    (["null", "int"], b"\x04", "expected null or int, got 2"),
    (ADDRESS, b"", "zip: expected int, got the end of the data"),
    ({"type": "array", "items": "int"}, b"\x04\x02", "1: expected int, got the end of the data"),
    (
        {"type": "array", "items": "null"},
        b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        "100000: expected at most 100000 zero-length items, got more",
    ),
    (
        {"type": "array", "items": {"type": "array", "items": record_of()}},
        b"\x02\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        "0/100000: expected at most 100000 zero-length items, got more",
    ),
    (decimal(4, 2), b"\xa0\x9c\x01\x7f" + bytes(9999), "expected decimal(4,2), got a number of 79999 bits"),
    (NODE, b"\x00\x02" * 10_000, "expected less nesting, got 20000 bytes nested too deeply"),
]


@pytest.mark.parametrize(("schema", "data", "message"), UNREADABLE)
def test_what_cannot_be_read(schema: Any, data: bytes, message: str) -> None:
    with pytest.raises(AvroMismatch) as caught:
        AvroSchema(schema).decode(data)

    assert str(caught.value) == message


@pytest.mark.parametrize("depth", [400, 100_000])
def test_deep_nesting_is_a_mismatch(depth: int) -> None:
    nested = '{"value": 1, "next": ' * depth + "null" + "}" * depth

    with pytest.raises(AvroMismatch, match=r"^expected less nesting, got "):
        AvroSchema(NODE).encode(nested.encode())


def test_unions_inside_unions_are_tried_once() -> None:
    """Each level has two branches that fail late: without memory, 100 levels would take 2 to the 100 trials."""
    b = {
        "type": "record",
        "name": "B",
        "fields": [{"name": "n", "type": ["null", "A", "B"]}, {"name": "y", "type": "int"}],
    }
    a = {
        "type": "record",
        "name": "A",
        "fields": [{"name": "n", "type": ["null", "A", b]}, {"name": "x", "type": "int"}],
    }
    compiled = AvroSchema(a)
    text = '{"n":' * 100 + "null" + ',"y":1}' * 99 + ',"x":1}'

    data = compiled.encode(text.encode())

    assert compiled.decode(data) == text.encode()
    with pytest.raises(AvroMismatch, match=r"^n: expected null, A or B, got "):
        compiled.encode(text.replace("null", "7").encode())


def test_a_large_default_asked_for_many_times_is_refused() -> None:
    schema = {"type": "array", "items": field_with("x" * 1_000_000, "string")}

    with pytest.raises(TooLarge, match=r"takes more than 1048576 bytes"):
        AvroSchema(schema).encode(b"[" + b",".join([b"{}"] * 1000) + b"]", Budget())


INVALID = [
    (5, "a schema must be a name, an object or an array of branches, not 5"),
    ("strin", "unknown type 'strin': it is not a primitive type and is not defined earlier"),
    ({}, "a schema has no type: {}"),
    ({"type": "array"}, "array has no items"),
    ({"type": "map"}, "map has no values"),
    ({"type": "record", "name": "R"}, "R has no fields"),
    ({"type": "record", "fields": []}, 'a record has no name: {"type": "record", "fields": []}'),
    ({"type": "record", "name": "R", "fields": [{"type": "int"}]}, 'R has a field without a name: {"type": "int"}'),
    ({"type": "record", "name": "R", "fields": [{"name": "a"}]}, "R.a has no type"),
    ({"type": "enum", "name": "E", "symbols": ["A", "A"]}, "E has a duplicate symbol"),
    ({"type": "enum", "name": "E", "symbols": "A"}, "E: symbols must be an array of strings"),
    ({"type": "fixed", "name": "F", "size": -1}, "F: size must be a non-negative integer, not -1"),
    ({"type": "fixed", "name": "F"}, "F has no size"),
    ({"type": "enum", "name": "int", "symbols": []}, "enum must not be named int"),
    ([], "a union has no branches"),
    (["int", ["null"]], "a union may not immediately contain another union"),
    (["int", "int"], "a union contains int twice"),
    ([MD5, {**MD5, "size": 5}], "com.acme.Md5 is defined twice"),
    (field_with("x", "int"), 'the default of D.f is invalid: expected int, got "x"'),
    (field_with({}, "D"), "the default of D.f contains itself"),
    (
        field_with("x" * 1024 * 1024, "string"),
        "the default of D.f, together with those before it, takes more than 1048576 bytes",
    ),
]


@pytest.mark.parametrize(("schema", "message"), INVALID)
def test_a_schema_that_cannot_be_used(schema: Any, message: str) -> None:
    with pytest.raises(InvalidAvroSchema) as caught:
        AvroSchema(schema)

    assert str(caught.value) == message


def test_a_deep_schema_is_refused() -> None:
    schema: Any = "int"
    for _ in range(5000):
        schema = {"type": "array", "items": schema}

    with pytest.raises(InvalidAvroSchema, match="more than 100 levels deep"):
        AvroSchema(schema)


def test_a_timestamp_is_the_instant_that_python_means() -> None:
    moment = datetime(2024, 2, 29, 8, 20, 30, 123456, UTC)
    micros = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    compiled = AvroSchema(logical("long", "timestamp-micros"))

    assert compiled.encode(json.dumps(moment.isoformat()).encode()) == AvroSchema("long").encode(str(micros).encode())
