"""A schema that records cannot be written by is registered nowhere; one that Avro takes is taken as it is meant."""

import io
import json
from typing import Any

import fastavro
import pytest

from registry.models import Change, Schema, SubjectVersion
from tests.conftest import Api


def record(kind: Any, *default: Any, name: str = "R") -> dict[str, Any]:
    field = {"name": "f", "type": kind}
    return {"type": "record", "name": name, "fields": [{**field, "default": default[0]} if default else field]}


COLOR = {"type": "enum", "name": "Color", "symbols": ["RED", "GREEN"]}
MD5 = {"type": "fixed", "name": "Md5", "size": 2}
POINT = {
    "type": "record",
    "name": "Point",
    "fields": [{"name": "x", "type": "int"}, {"name": "y", "type": "int", "default": 0}],
}
DEFAULTS = {
    "an enum's symbol": (COLOR, "BLUE"),
    "a fixed's size": (MD5, "abc"),
    "an array's item": ({"type": "array", "items": "int"}, [1, "2"]),
    "a map's value": ({"type": "map", "values": "long"}, {"a": 1.5}),
    "a record's field": (POINT, {"x": "1"}),
    "a record's required field": (POINT, {}),
    "a record that is none": (POINT, 5),
    "an int out of range": ("int", 2**31),
    "a long out of range": ("long", -(2**63) - 1),
    "bytes above U+00FF": ("bytes", "\u0100"),
    "fixed above U+00FF": (MD5, "a\u0100"),
    "null for a string": ("string", None),
    "a fraction for an int": ("int", 1.0),
    "a boolean for an int": ("int", True),
    "no branch of a union": (["null", COLOR], "BLUE"),
    "an int branch out of range": (["int", "null"], 2**31),
    "an item in a union": (["null", {"type": "array", "items": MD5}], ["abc"]),
    "an enum in a map in an array": ({"type": "array", "items": {"type": "map", "values": COLOR}}, [{"a": "BLUE"}]),
}
UNUSABLE: dict[str, Any] = {name: record(kind, default) for name, (kind, default) in DEFAULTS.items()}
UNUSABLE |= {
    f"{name}, one record deeper": record(record(kind, default, name="Inner"), name="Outer")
    for name, (kind, default) in DEFAULTS.items()
}
UNUSABLE |= {
    "a default that contains itself": record("R", {}),
    "a default that contains itself in an array": record({"type": "array", "items": "R"}, [{}]),
    "a default that contains itself by another": record(record("R", {}, name="Inner"), {"f": {}}),
    "the empty union": [],
    "the empty union in a field": record([]),
    "the empty union in an array": {"type": "array", "items": []},
    "a union in a union": ["int", ["null"]],
    "a type twice in a union": ["int", {"type": "int", "logicalType": "date"}],
    "a name twice": [MD5, {**MD5, "size": 3}],
    "a fixed larger than a record": {"type": "fixed", "name": "F", "size": 2**20 + 1},
    "a large decimal": {"type": "fixed", "name": "F", "size": 2**30, "logicalType": "decimal", "precision": 9},
    "a negative size": {"type": "fixed", "name": "F", "size": -1},
    "too precise a decimal": {"type": "bytes", "logicalType": "decimal", "precision": 10_001},
    "too many branches": [{"type": "fixed", "name": f"F{number}", "size": 1} for number in range(1001)],
    "too many fields": {
        "type": "record",
        "name": "R",
        "fields": [{"name": f"f{number}", "type": "int"} for number in range(10_001)],
    },
    "defaults that are too large together": {
        "type": "record",
        "name": "R",
        "fields": [
            record("string", "x" * 400_000, name="Inner") | {"name": "a", "type": record("string", "x" * 400_000)}
        ]
        + [{"name": f"f{number}", "type": "R", "default": {"a": {}}} for number in range(3)],
    },
    "an enum's default that is no symbol": {**COLOR, "default": "BLUE"},
    "aliases that are no list": {**MD5, "aliases": "x"},
    "aliases that are no strings": {**MD5, "aliases": [1]},
    "no such name": record("Nowhere"),
    "a symbol that is no name": {**COLOR, "symbols": ["1"]},
    "a field name that is none": {"type": "record", "name": "R", "fields": [{"name": "a b", "type": "int"}]},
}
# As deep as the body may be, and deeper than types may be.
DEEP: Any = "int"
for _ in range(101):
    DEEP = {"type": "array", "items": DEEP}
UNUSABLE["types nested too deeply"] = DEEP


def nothing_is_left() -> bool:
    return not (Schema.objects.exists() or SubjectVersion.objects.exists() or Change.objects.exists())


@pytest.mark.parametrize("schema", UNUSABLE.values(), ids=UNUSABLE)
def test_it_works(api: Api, schema: Any) -> None:
    answer = api.post("/registry/subjects/s/versions", {"schema": json.dumps(schema)})

    assert answer.status_code == 422, answer.content
    assert answer.json()["error_code"] == 42201
    assert nothing_is_left()


@pytest.mark.parametrize("mode", ["false", "true"])
@pytest.mark.parametrize("schema", UNUSABLE.values(), ids=UNUSABLE)
def test_an_inline_schema_leaves_nothing_behind(api: Api, schema: Any, mode: str) -> None:
    """It was registered first and refused after: everybody who wrote with the topic's subject was refused then."""
    api.create_topic("t", 1)
    body = {"valueSchema": json.dumps(schema), "records": [{"value": {}}]}

    answer = api.produce("t", json.dumps(body), value_format="avro", async_=mode)

    assert answer.status_code == 400, answer.content
    assert answer.json()["code"] == "invalid_schema"
    assert nothing_is_left()


def test_a_key_schema_is_not_registered_beside_a_value_schema_that_is_unusable(api: Api) -> None:
    api.create_topic("t", 1)
    body = {"keySchema": "string", "valueSchema": [], "records": [{"key": "k", "value": 1}]}

    answer = api.produce("t", json.dumps(body), value_format="avro", key_format="avro")

    assert answer.json()["code"] == "invalid_schema"
    assert nothing_is_left()


@pytest.mark.parametrize("mode", ["false", "true"])
@pytest.mark.parametrize("parameter", ["value.schema.id", "value.schema"])
def test_a_schema_stored_long_ago_that_is_unusable_is_refused_at_once(api: Api, mode: str, parameter: str) -> None:
    """Nothing known to fail is accepted with 202."""
    api.create_topic("t", 1)
    row = Schema.objects.create(fingerprint="x", text=json.dumps(record(COLOR, "BLUE")))
    SubjectVersion.objects.create(subject="old", version=1, schema=row)
    chosen = {parameter: str(row.pk) if parameter.endswith("id") else "old"}

    answer = api.produce("t", [{"value": {"f": "RED"}}], value_format="avro", async_=mode, **chosen)

    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_schema"
    assert "the default of R.f is invalid" in answer.json()["detail"]


def register(api: Api, subject: str, schema: Any, *references: Any) -> Any:
    body = {"schema": json.dumps(schema), "references": references}
    return api.post(f"/registry/subjects/{subject}/versions", body)


def reference(name: str, subject: str) -> dict[str, Any]:
    return {"name": name, "subject": subject, "version": 1}


def test_a_default_is_judged_by_what_is_referred_to(api: Api) -> None:
    register(api, "color", COLOR)

    bad = register(api, "bad", record("Color", "BLUE"), reference("Color", "color"))
    good = register(api, "good", record("Color", "RED"), reference("Color", "color"))

    assert (bad.status_code, good.status_code) == (422, 200)


def test_references_of_one_name_are_all_used(api: Api) -> None:
    """By their names one of them was lost, and what had been registered could not be written."""
    api.create_topic("t", 1)
    register(api, "color", COLOR)
    register(api, "md5", MD5)
    both = {
        "type": "record",
        "name": "Both",
        "fields": [{"name": "c", "type": "Color"}, {"name": "m", "type": "Md5"}],
    }
    answer = register(api, "t-value", both, reference("x", "color"), reference("x", "md5"))

    if answer.status_code == 200:
        produced = api.produce("t", [{"value": {"c": "RED", "m": "AAA="}}], value_format="avro")
        assert produced.status_code == 200, produced.content
    else:
        assert answer.status_code == 422


BYTES: dict[str, Any] = {"type": "bytes", "logicalType": "decimal"}
FIXED: dict[str, Any] = {"type": "fixed", "name": "F", "size": 2, "logicalType": "decimal"}
IGNORED: list[tuple[Any, Any, bytes]] = [
    (BYTES, "AAE=", b"\x04\x00\x01"),
    ({**BYTES, "precision": None}, "AAE=", b"\x04\x00\x01"),
    ({**BYTES, "precision": "9"}, "AAE=", b"\x04\x00\x01"),
    ({**BYTES, "precision": 0}, "AAE=", b"\x04\x00\x01"),
    ({**BYTES, "precision": -1}, "AAE=", b"\x04\x00\x01"),
    ({**BYTES, "precision": 4.5}, "AAE=", b"\x04\x00\x01"),
    ({**BYTES, "precision": 4, "scale": 5}, "AAE=", b"\x04\x00\x01"),
    ({**BYTES, "precision": 4, "scale": -1}, "AAE=", b"\x04\x00\x01"),
    ({**BYTES, "precision": 4, "scale": "2"}, "AAE=", b"\x04\x00\x01"),
    ({**FIXED, "precision": 5}, "AAE=", b"\x00\x01"),
    ({**FIXED, "precision": True}, "AAE=", b"\x00\x01"),
    ({"type": "string", "logicalType": "decimal", "precision": 4}, "1.5", b"\x061.5"),
    ({"type": "int", "logicalType": "uuid"}, 1, b"\x02"),
    ({"type": "fixed", "name": "F", "size": 2, "logicalType": "uuid"}, "AAE=", b"\x00\x01"),
    ({"type": "fixed", "name": "F", "size": 2, "logicalType": "duration"}, "AAE=", b"\x00\x01"),
    ({"type": "bytes", "logicalType": "duration"}, "AAE=", b"\x04\x00\x01"),
    ({"type": "long", "logicalType": "date"}, 1, b"\x02"),
    ({"type": "int", "logicalType": "timestamp-millis"}, 1, b"\x02"),
    ({"type": "string", "logicalType": "timestamp-millis"}, "x", b"\x02x"),
    ({"type": "int", "logicalType": "no-such"}, 1, b"\x02"),
    ({"type": "int", "logicalType": 5}, 1, b"\x02"),
    ({"type": "int", "logicalType": ["date"]}, 1, b"\x02"),
]


@pytest.mark.parametrize(("schema", "value", "expected"), IGNORED)
def test_an_invalid_logical_type_is_ignored(api: Api, schema: Any, value: Any, expected: bytes) -> None:
    from topics.log import current_log

    api.create_topic("t", 1)
    answer = register(api, "t-value", record(schema))
    assert answer.status_code == 200, answer.content
    assert json.loads(api.get(f"/registry/schemas/ids/{answer.json()['id']}").json()["schema"]) == record(schema)

    produced = api.produce("t", [{"value": {"f": value}}], value_format="avro")

    assert produced.status_code == 200, produced.content
    (stored,) = current_log().read("t", 0, 0, 10)
    assert stored.value is not None
    assert stored.value[5:] == expected
    # Another version is judged by the underlying type too.
    assert register(api, "t-value", {**record(schema), "doc": "again"}).status_code == 200


def named(kind: str, name: str, **members: Any) -> dict[str, Any]:
    own: dict[str, Any] = {
        "record": {"fields": []},
        "error": {"fields": []},
        "enum": {"symbols": ["A"]},
        "fixed": {"size": 1},
    }
    return {"type": kind, "name": name, **own[kind], **members}


@pytest.mark.parametrize("kind", ["record", "error", "enum", "fixed"])
@pytest.mark.parametrize("level", ["BACKWARD", "FORWARD", "FULL"])
@pytest.mark.parametrize(
    ("before", "after", "members", "reads"),
    [
        ("x.Old", "x.New", {"aliases": ["Old"]}, True),
        ("x.Old", "x.New", {"aliases": ["x.Old"]}, True),
        ("x.Old", "New", {"namespace": "x", "aliases": ["Old"]}, True),
        ("Old", "New", {"aliases": ["Old"]}, True),
        ("y.Old", "x.New", {"aliases": ["Old"]}, False),
        ("y.Old", "x.New", {"aliases": ["y.Old"]}, True),
        ("Old", "x.New", {"aliases": ["Old"]}, False),
    ],
)
def test_an_alias_is_relative_to_its_names_namespace(
    api: Api, kind: str, level: str, before: str, after: str, members: dict[str, Any], reads: bool
) -> None:
    """The new schema has the alias, so only reading what was written before can hang on it."""
    api.client.put("/registry/config/s", json.dumps({"compatibility": level}), content_type="application/json")
    register(api, "s", named(kind, before))

    answer = register(api, "s", named(kind, after, **members))

    assert answer.status_code == (200 if reads and level == "BACKWARD" else 409)


def test_an_alias_of_the_earlier_schema_reads_the_new_one(api: Api) -> None:
    api.client.put("/registry/config/s", json.dumps({"compatibility": "FORWARD"}), content_type="application/json")
    register(api, "s", named("enum", "x.Old", aliases=["New"]))

    assert register(api, "s", named("enum", "x.New")).status_code == 200


MEANT: list[tuple[Any, Any, Any]] = [
    # A name in any number of wrappings is the name itself.
    ([COLOR, record({"type": {"type": "Color"}})], {"R": {"f": "RED"}}, {"f": "RED"}),
    ([COLOR, record({"type": "Color"})], {"R": {"f": "RED"}}, {"f": "RED"}),
    (record({"type": {"type": {"type": "array", "items": "int"}}}), {"f": [1]}, {"f": [1]}),
    # The null namespace, in and below another one.
    ({**record("int"), "namespace": ""}, {"f": 1}, {"f": 1}),
    (
        {**record({**COLOR, "namespace": ""}), "namespace": "a.b"},
        {"f": "RED"},
        {"f": "RED"},
    ),
    (
        {
            "type": "record",
            "name": "a.Outer",
            "fields": [
                {"name": "c", "type": {**COLOR, "namespace": ""}},
                {"name": "d", "type": "Color"},
                {"name": "e", "type": {"type": "Color"}},
            ],
        },
        {"c": "RED", "d": "GREEN", "e": "RED"},
        {"c": "RED", "d": "GREEN", "e": "RED"},
    ),
    ({**record("int"), "type": "error"}, {"f": 1}, {"f": 1}),
    (record({**POINT, "type": "error"}), {"f": {"x": 1}}, {"f": {"x": 1, "y": 0}}),
    ({**record({"type": "double", "logicalType": "x"}, 0)}, {}, {"f": 0.0}),
]


@pytest.mark.parametrize(("schema", "value", "read"), MEANT)
def test_what_a_schema_means(api: Api, schema: Any, value: Any, read: Any) -> None:
    api.create_topic("t", 1)
    first = register(api, "t-value", schema)
    assert first.status_code == 200, first.content

    produced = api.produce("t", [{"value": value}], value_format="avro")

    assert produced.status_code == 200, produced.content
    shown = json.loads(api.messages("t", decode="true")[0]["value"])
    assert shown in (read, {"R": read})
    changed = json.loads(json.dumps(schema))
    target = changed[1] if isinstance(changed, list) else changed
    target["doc"] = "the second version"
    # Each further version is judged beside this one.
    assert register(api, "t-value", changed).status_code == 200
    compatible = api.post("/registry/compatibility/subjects/t-value/versions/1", {"schema": json.dumps(changed)})
    assert compatible.json() == {"is_compatible": True}


def test_the_canonical_text_is_what_fastavro_made_of_it() -> None:
    """Schemas registered before are found again: equal texts have equal fingerprints for ever."""
    from registry import schemas

    schema = {
        "type": "record",
        "name": "R",
        "namespace": "a.b",
        "doc": "d",
        "x": {"y": [1]},
        "aliases": ["Q"],
        "fields": [
            {"name": "e", "type": {**COLOR, "default": "RED"}, "default": "GREEN", "order": "ignore"},
            {"name": "l", "type": {"type": "array", "items": {"type": "string"}, "namespace": "n"}},
            {"name": "n", "type": ["null", "R", {"type": "map", "values": "Color"}], "doc": "x"},
            {"name": "t", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        ],
    }
    parsed = fastavro.parse_schema(schema)
    assert isinstance(parsed, dict)
    expected = {name: part for name, part in parsed.items() if not name.startswith("__")}
    # Our form leaves the objects out that say a type and nothing more.
    expected["fields"][1]["type"]["items"] = "string"

    assert json.loads(schemas.parse(json.dumps(schema)).canonical) == expected


DECIMALS: list[tuple[Any, str, bytes]] = [
    ("09", "09", b"\x0409"),
    ({"bytes": "09"}, "09", b"\x0409"),
    (123.45, "09", b"\x0409"),
    (-1, "\x9c", b"\x02\x9c"),
    ("\xff\x9c", "\xff\x9c", b"\x04\xff\x9c"),
    ("\x00", "\x00", b"\x02\x00"),
    (9, "\x03\x84", b"\x04\x03\x84"),
]


@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize(("value", "shown", "binary"), DECIMALS)
def test_a_string_for_a_decimal_is_its_bytes_where_bytes_are_latin_1(
    api: Api, settings: Any, value: Any, shown: str, binary: bytes, tagged: bool
) -> None:
    """The text 09 was stored as 9.00: it is the two bytes of 12345, which is 123.45."""
    from topics.log import current_log

    settings.TAKHIN_AVRO_BYTES = "latin-1"
    api.create_topic("t", 1)
    decimal = {**BYTES, "precision": 9, "scale": 2}
    register(api, "t-value", ["null", decimal] if tagged or isinstance(value, dict) else decimal)
    sent = {"bytes": value} if tagged and not isinstance(value, dict) else value

    produced = api.produce("t", [{"value": sent}], value_format="avro")

    assert "offset" in produced.json()["offsets"][0], produced.content
    (stored,) = current_log().read("t", 0, 0, 10)
    assert stored.value is not None
    assert stored.value[5:].removeprefix(b"\x02" if tagged or isinstance(value, dict) else b"") == binary
    text = api.messages("t", decode="true")[0]["value"]
    assert json.loads(text) == shown
    api.produce("t", json.dumps({"records": [{"value": json.loads(text)}]}), value_format="avro")
    first, again = current_log().read("t", 0, 0, 10)
    assert first.value == again.value


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ({**BYTES, "precision": 4, "scale": 2}, ""),
        ({**BYTES, "precision": 4, "scale": 2}, "\u0100"),
        ({**BYTES, "precision": 4, "scale": 2}, "09090909090909"),
        ({**BYTES, "precision": 4, "scale": 2}, "\x7f\xff"),
        ({**FIXED, "precision": 4, "scale": 2}, "1"),
        ({**FIXED, "precision": 4, "scale": 2}, "123"),
        ({**FIXED, "precision": 4, "scale": 2}, "\x7f\xff"),
    ],
)
def test_latin_1_that_is_no_such_decimal(api: Api, settings: Any, kind: Any, value: str) -> None:
    settings.TAKHIN_AVRO_BYTES = "latin-1"
    api.create_topic("t", 1)
    register(api, "t-value", kind)

    produced = api.produce("t", [{"value": value}], value_format="avro")

    assert produced.json()["offsets"][0]["code"] == "serialization_failed"


def test_a_fixed_decimal_as_latin_1(api: Api, settings: Any) -> None:
    settings.TAKHIN_AVRO_BYTES = "latin-1"
    api.create_topic("t", 1)
    schema = {**FIXED, "precision": 4, "scale": 2}
    register(api, "t-value", schema)

    api.produce("t", [{"value": "\x00\x96"}, {"value": 1.5}, {"value": -1.5}], value_format="avro")

    shown = [json.loads(message["value"]) for message in api.messages("t", decode="true")]
    assert shown == ["\x00\x96", "\x00\x96", "\xff\x6a"]
    datum = io.BytesIO(shown[2].encode("latin-1"))
    assert str(fastavro.schemaless_reader(datum, schema, None)) == "-1.50"
