"""Keys and values become exactly the bytes that their format promises, and null stays null."""

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Api
from topics.log import batches
from topics.log.records import StoredRecord
from topics.models import RecordBatch

FORMATS = ["json", "string", "binary"]


def body(*records: str) -> bytes:
    return ('{"records":[' + ",".join(records) + "]}").encode()


def stored() -> list[StoredRecord]:
    """Every stored record, in the order it was written."""
    payloads = RecordBatch.objects.order_by("id").values_list("payload", flat=True)
    return [record for payload in payloads for record in batches.decode(bytes(payload), 0)]


def produce_value(api: Api, text: str, **parameters: str) -> Any:
    return api.produce("orders", body(f'{{"value":{text},"partition":0}}'), **parameters)


def value_of(api: Api, text: str, **parameters: str) -> bytes | None:
    answer = produce_value(api, text, **parameters)
    assert answer.status_code == 200, answer.content
    return stored()[-1].value


def error_of(api: Api, text: str, **parameters: str) -> str:
    answer = produce_value(api, text, **parameters)
    assert answer.status_code == 422, answer.content
    (failure,) = answer.json()["offsets"]
    assert failure["code"] == "serialization_failed"
    assert failure["retriable"] is False
    assert not RecordBatch.objects.exists()
    error: str = failure["error"]
    return error


def test_it_works(api: Api, topic: str) -> None:
    answer = api.produce(topic, [{"key": "AQ==", "value": "h\u00e9"}], key_format="binary", value_format="string")

    assert answer.status_code == 200
    assert (stored()[0].key, stored()[0].value) == (b"\x01", "h\u00e9".encode())


EXACT = [
    '{"b" : 1,   "a":2}',
    '{ "a":1 ,\n\t"a":2 }',
    "1.10",
    "-0",
    "1e400",
    "1E+2",
    "123456789012345678901234567890",
    '"\\u0041\\/\\n\\ud83d\\ude00"',
    '"\u00e9\U0001f600"',
    "[ ]",
    "{ }",
    '[null, "null", {"x": null}]',
    "true",
    '"\\u0000"',
]


@pytest.mark.parametrize("text", EXACT)
def test_json_is_stored_byte_for_byte(api: Api, topic: str, text: str) -> None:
    assert value_of(api, text) == text.encode()


@pytest.mark.parametrize("text", EXACT)
def test_a_json_key_is_stored_byte_for_byte(api: Api, topic: str, text: str) -> None:
    assert api.produce(topic, body(f'{{"key":{text}}}')).status_code == 200

    assert stored()[0].key == text.encode()


def test_spaces_around_a_value_are_no_part_of_it(api: Api, topic: str) -> None:
    assert value_of(api, " \n\t 1.10 \r\n ") == b"1.10"


json_numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
spaces = st.text(" \t\r\n", max_size=2)
strings = st.builds(
    json.dumps, st.text(st.characters(exclude_categories=["Cs"]), max_size=12), ensure_ascii=st.booleans()
)


def _array(items: list[str], space: str) -> str:
    return "[" + f"{space},{space}".join([*items]) + space + "]"


def _object(members: list[tuple[str, str]], space: str) -> str:
    return "{" + f",{space}".join(f"{name}{space}:{space}{value}" for name, value in members) + "}"


json_texts = st.recursive(
    st.sampled_from(["null", "true", "false", '""']) | json_numbers | strings,
    lambda inner: (
        st.builds(_array, st.lists(inner, max_size=4), spaces)
        # Members may repeat: what stands inside a value is nobody's business but the reader's.
        | st.builds(_object, st.lists(st.tuples(strings, inner), max_size=4), spaces)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(json_texts, json_texts), min_size=1, max_size=8))
def test_any_json_is_stored_byte_for_byte(api: Api, pairs: list[tuple[str, str]]) -> None:
    if api.get("/api/topics/any").status_code == 404:
        api.create_topic("any", 1)

    answer = api.produce("any", body(*(f'{{"key":{key} , "value": {value}}}' for key, value in pairs)))

    assert answer.status_code == 200, answer.content
    expected = [tuple(None if text == "null" else text.encode() for text in pair) for pair in pairs]
    assert [(record.key, record.value) for record in stored()[-len(pairs) :]] == expected


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=8))
def test_any_text_is_stored_as_its_utf8(api: Api, texts: list[str]) -> None:
    if api.get("/api/topics/any").status_code == 404:
        api.create_topic("any", 1)

    answer = api.produce("any", [{"value": text} for text in texts], value_format="string")

    assert answer.status_code == 200, answer.content
    assert [record.value for record in stored()[-len(texts) :]] == [text.encode() for text in texts]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=st.lists(st.binary(), min_size=1, max_size=8))
def test_any_bytes_are_stored_from_base64(api: Api, chunks: list[bytes]) -> None:
    if api.get("/api/topics/any").status_code == 404:
        api.create_topic("any", 1)

    answer = api.produce(
        "any", [{"value": base64.b64encode(chunk).decode()} for chunk in chunks], value_format="binary"
    )

    assert answer.status_code == 200, answer.content
    assert [record.value for record in stored()[-len(chunks) :]] == chunks


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("record", ["{}", '{"key":null,"value":null}', '{"key": null ,"value":\nnull\n}'])
def test_null_and_absent_are_null_in_every_format(api: Api, topic: str, name: str, record: str) -> None:
    assert api.produce(topic, body(record), key_format=name, value_format=name).status_code == 200

    assert (stored()[0].key, stored()[0].value) == (None, None)
    assert [api.messages(topic)[0][part] for part in ("key", "value")] == [None, None]


@pytest.mark.parametrize("text", ["0", "false", '""', "{}", "[]", '"null"', "-0.0"])
def test_what_is_falsy_is_a_value_in_json(api: Api, topic: str, text: str) -> None:
    assert value_of(api, text) == text.encode()


@pytest.mark.parametrize(("text", "expected"), [("0", b"0"), ("false", b"false"), ('""', b""), ('"null"', b"null")])
def test_what_is_falsy_is_a_value_as_string(api: Api, topic: str, text: str, expected: bytes) -> None:
    assert value_of(api, text, value_format="string") == expected
    assert api.messages(topic)[0]["value"] == expected.decode()


def test_empty_base64_is_empty_bytes_and_not_null(api: Api, topic: str) -> None:
    assert value_of(api, '""', value_format="binary") == b""
    assert api.messages(topic)[0]["value"] == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"plain"', b"plain"),
        ('"\\u00e9\\n\\"\\ud83d\\ude00"', '\u00e9\n"\U0001f600'.encode()),
        ("12", b"12"),
        ("1.10", b"1.10"),
        ("-1E-7", b"-1E-7"),
        ("123456789012345678901234567890", b"123456789012345678901234567890"),
        ("true", b"true"),
    ],
)
def test_string_is_the_text_or_the_numbers_own_text(api: Api, topic: str, text: str, expected: bytes) -> None:
    assert value_of(api, text, value_format="string") == expected


@pytest.mark.parametrize(("text", "shown"), [("{}", "an object"), ('{"a":1}', "an object"), ("[]", "an array")])
def test_an_object_or_array_as_string_is_that_records_error(api: Api, topic: str, text: str, shown: str) -> None:
    error = error_of(api, text, value_format="string")

    assert error == f"record 0: serialize value: expected a string, a number or a boolean, got {shown}"


@pytest.mark.parametrize(
    "text",
    [
        "AA",
        "AA=",
        "AB==",
        "AAAB=",
        "AAAAAB==",
        "A===",
        "AA===",
        "====",
        "AA==AA==",
        "A-_A",
        "AAA/AA--",
        "AA ==",
        " AAAA",
        "AAAA\\n",
        "AA\\nAA",
        "\u00e9AAA",
        "AAA*",
        "AAAAA",
    ],
)
def test_what_is_not_standard_base64_is_that_records_error(api: Api, topic: str, text: str) -> None:
    error = error_of(api, f'"{text}"', value_format="binary")

    assert error.startswith("record 0: serialize value: ")
    assert error.endswith("is not standard base64")


@pytest.mark.parametrize(
    ("text", "shown"), [("1", "a number"), ("true", "a boolean"), ("{}", "an object"), ("[]", "an array")]
)
def test_binary_of_anything_but_a_string_is_that_records_error(api: Api, topic: str, text: str, shown: str) -> None:
    error = error_of(api, text, value_format="binary")

    assert error == f"record 0: serialize value: expected a base64 string, got {shown}"


def test_long_bad_base64_is_not_repeated_in_full(api: Api, topic: str) -> None:
    assert len(error_of(api, '"' + "?" * 100_000 + '"', value_format="binary")) < 200


def test_a_bad_key_is_that_records_error_and_the_others_are_written(api: Api, topic: str) -> None:
    answer = api.produce(topic, [{"key": "AA=="}, {"key": "?"}, {"key": {"a": 1}}, {"key": None}], key_format="binary")

    assert answer.status_code == 200
    found = answer.json()["offsets"]
    assert "offset" in found[0]
    assert found[1]["error"] == "record 1: serialize key: '?' is not standard base64"
    assert found[2]["error"] == "record 2: serialize key: expected a base64 string, got an object"
    assert "offset" in found[3]
    assert len(stored()) == 2


@pytest.mark.parametrize("part", ["key", "value"])
def test_avro_without_a_schema_is_400(api: Api, topic: str, part: str) -> None:
    answer = api.produce(topic, [{"value": 1}], **{f"{part}_format": "avro"})

    assert answer.status_code == 400
    assert answer.json()["error"] == f"{part}.schema required when {part}.format=avro"
    assert answer.json()["code"] == "schema_required"


@pytest.mark.parametrize("part", ["key", "value"])
@pytest.mark.parametrize("asynchronous", ["true", "false"])
def test_an_unknown_format_is_400_before_any_record_is_read(api: Api, topic: str, part: str, asynchronous: str) -> None:
    answer = api.produce(topic, b"not JSON", async_=asynchronous, **{f"{part}_format": "xml"})

    assert answer.status_code == 400
    assert answer.json()["error"] == "unsupported format: xml"
    assert answer.json()["detail"] == f"{part}.format must be one of json, string, binary, avro, got 'xml'"


@pytest.mark.parametrize("name", ["", "JSON", "json "])
def test_a_format_is_named_exactly(api: Api, topic: str, name: str) -> None:
    assert api.produce(topic, [{"value": 1}], value_format=name).json()["code"] == "unsupported_format"


@pytest.mark.parametrize("timestamp", [0, 1, 2**31, 2**63 - 1])
def test_a_timestamp_is_any_positive_64_bit_integer(api: Api, topic: str, timestamp: int) -> None:
    records = [{"timestamp": timestamp, "partition": 0}, {"timestamp": 0, "partition": 0}]

    answer = api.produce(topic, records)

    assert [metadata["timestamp"] for metadata in answer.json()["offsets"]] == [timestamp, 0]
    assert [message["timestamp"] for message in api.messages(topic)] == [timestamp, 0]
