"""JSON is read in one way: nothing is lost, nothing is read twice, and every fault is named where it stands."""

import json
import re
import time
from typing import Any

import hypothesis
import pytest
from django.contrib.auth.models import User
from django.test import Client
from hypothesis import strategies as st

from core import counting, json_text
from core.api.errors import InvalidBody
from core.nesting import is_deeper
from producer.models import ProduceRequest
from producer.pipeline import decode
from producer.queue.threads import new_worker
from tests.conftest import Api
from topics.models import RecordBatch

MIB = 1024 * 1024
ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "int", "default": 0},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "address", "type": ["null", {"type": "record", "name": "Address", "fields": []}], "default": None},
        {"name": "tags", "type": {"type": "map", "values": "int"}, "default": {}},
        {"name": "rows", "type": {"type": "array", "items": {"type": "map", "values": "int"}}, "default": []},
    ],
}
# What Python, msgspec or Django REST framework would say.
PYTHON = re.compile(r"\b(int|str|bool|float|dict|dictionary|NoneType|msgspec|Traceback)\b|`")


def refused(api: Api, body: bytes | str, content_type: str = "application/json", query: str = "") -> str:
    """The detail of a 400 for a body of which nothing was written."""
    answer = api.post(f"/api/topics/orders/produce{query}", body, content_type)
    assert answer.status_code == 400, answer.content
    assert answer.json()["code"] == "invalid_request_body"
    assert not RecordBatch.objects.exists()
    detail: str = answer.json()["detail"]
    return detail


def values(api: Api, **parameters: Any) -> list[str]:
    return [message["value"] for message in api.messages("orders", **parameters)]


# Two fields of one name


REPEATED = [
    ('{"records":[{"value":1}],"records":[{"value":2}]}', "$", "records"),
    ('{"records":[],"records":[{"value":2}]}', "$", "records"),
    ('{"records":[{}],"keySchema":null,"keySchema":null}', "$", "keySchema"),
    ('{"valueSchema":"int","records":[{}],"valueSchema":"string"}', "$", "valueSchema"),
    ('{"records":[{"value":1,"value":2}]}', "$.records[0]", "value"),
    ('{"records":[{},{"value":1,"value":1}]}', "$.records[1]", "value"),
    ('{"records":[{"key":null,"key":null}]}', "$.records[0]", "key"),
    ('{"records":[{"key":"a","value":1,"key":"b"}]}', "$.records[0]", "key"),
    (
        '{"records":[{"partition":0},{},{"partition":0,"value":{"partition":1},"partition":1}]}',
        "$.records[2]",
        "partition",
    ),
    ('{"records":[{"timestamp":1,"timestamp":null}]}', "$.records[0]", "timestamp"),
    ('{"records":[{"headers":[],"headers":[{"key":"k"}]}]}', "$.records[0]", "headers"),
    ('{"records":[{"headers":[{"key":"k","key":"k"}]}]}', "$.records[0].headers[0]", "key"),
    (
        '{"records":[{"headers":[{"key":"k"},{"key":"k","value":null,"value":"v"}]}]}',
        "$.records[0].headers[1]",
        "value",
    ),
    (
        '{"records":[{"headers":[{"key":"k","value":{"base64":"","base64":"AA=="}}]}]}',
        "$.records[0].headers[0].value",
        "base64",
    ),
    # However the name is written, and whatever else has colons.
    ('{"records":[{"value":1,"v\\u0061lue":2}]}', "$.records[0]", "value"),
    ('{"records":[{"\\u0076alue":1,"\\u0076\\u0061lue":2}]}', "$.records[0]", "value"),
    ('{"rec\\u006Frds":[{"value":1}],"records":[{"value":2}]}', "$", "records"),
    ('{"records":[{"headers":[{"key":"\\u003a"}],"value":1,"value":2}]}', "$.records[0]", "value"),
    (
        '{"records":[{"headers":[{"key":"\\u003A\\\\u003a:"}],"key":":","value":":","value":2}]}',
        "$.records[0]",
        "value",
    ),
    ('{"records":[{"value":"\\u003a","value":"::::"}]}', "$.records[0]", "value"),
    (' { "records" : [ { "value" : 1 ,\n "value"\t: 2 } ] }', "$.records[0]", "value"),
    ('{"records":[{"value":"\\ud800","value":2}]}', "$.records[0]", "value"),
]


@pytest.mark.parametrize(("body", "place", "name"), REPEATED, ids=[row[0] for row in REPEATED])
@pytest.mark.parametrize("query", ["", "?async=true", "?value.format=string&strict=true"])
def test_a_repeated_field_is_named_with_its_place(
    api: Api, topic: str, body: str, place: str, name: str, query: str
) -> None:
    assert refused(api, body, query=query) == f'{place}: the field "{name}" appears more than once'


@pytest.mark.parametrize(("body", "place", "name"), [row for row in REPEATED if row[1] != "$"])
def test_a_repeated_field_is_named_with_its_line(api: Api, topic: str, body: str, place: str, name: str) -> None:
    envelope = json.loads(body, object_pairs_hook=list, parse_constant=str)
    assert envelope
    index = int(place.removeprefix("$.records[").partition("]")[0])
    inner = body.strip().removeprefix("{").removesuffix("}").strip().removeprefix('"records"').strip(" :")
    records = inner.removeprefix("[").removesuffix("]").replace("\n", " ").strip().replace("},{", "}\n\n{", index)

    detail = refused(api, f'{{"value":"first"}}\n{records}\n{{"value":0}}', "application/x-ndjson")

    rest = place.removeprefix("$.records").partition("]")[2]
    assert detail == f'line {2 + 2 * index}: ${rest}: the field "{name}" appears more than once'


def test_a_record_too_many_fields_in_a_body_that_is_counted(api: Api, topic: str) -> None:
    """A body with more braces than records may be many is decoded in another way."""
    braces = "{}," * 10_001
    body = f'{{"records":[{{"value":[{braces}{{}}]}},{{"value":1,"value":2}}]}}'

    assert refused(api, body) == '$.records[1]: the field "value" appears more than once'


@pytest.mark.parametrize(
    "body",
    [
        '{"keySchema":null,"records":[{"value":"Zo\\u00eb"}]}',
        '{"keySchema":null,"valueSchema":null,"records":[{"value":"\\"records\\""}]}',
        '{"records":[{"value":{"records":[],"records":[]}}]}',
        '{"records":[{"value":{"a":1,"a":2},"key":{"b":1,"b":1}}]}',
        '{"records":[{"key":"value","value":"key","headers":[{"key":"value","value":"value"}]}]}',
        '{"records":[{"headers":[{"key":"http://a:1","value":"::\\u003a"},{"key":"\\\\u003a","value":null}]}]}',
        '{"records":[{"key":null,"value":null,"partition":null,"timestamp":null,"headers":null},{}]}',
        '{"rec\\u006frds":[{"v\\u0061lue":1,"k\\u0065y":2}]}',
    ],
)
def test_no_field_of_these_is_repeated(api: Api, topic: str, body: str) -> None:
    assert api.post("/api/topics/orders/produce", body).status_code == 200
    lines = "\n".join(part + "}" for part in ['{"value":{"a":1,"a":2}', '{"key":null,"value":":"'])
    assert api.post("/api/topics/orders/produce", lines, "application/x-ndjson").status_code == 200


def test_a_body_is_looked_into_only_where_a_field_was_lost(
    api: Api, avro: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look costs several times what it costs to decode, so no usual body may make it necessary."""
    looked: list[bytes] = []
    monkeypatch.setattr(json_text, "find_repeated", lambda text, *_: looked.append(text))
    nested = {"key": 1, "value": {"headers": [{"key": "a:b", "value": "COLON"}], "records": []}, "partition": {}}
    records = [
        {"key": None, "value": nested, "partition": None, "timestamp": None, "headers": None},
        {"key": "k:\u00e9", "value": "\U0001f600", "headers": [{"key": "url", "value": "http://a:1/COLON"}]},
        {
            "timestamp": 0,
            "partition": 0,
            "headers": [{"key": "k", "value": {"base64": "AA=="}}, {"key": "n", "value": None}],
        },
        {},
    ]
    for text in (json.dumps({"records": records}), json.dumps({"records": records}, ensure_ascii=False, indent=2)):
        assert api.post("/api/topics/orders/produce", text.replace("COLON", "\\u003a")).status_code == 200
    lines = "\r\n".join(map(json.dumps, records))
    assert api.post("/api/topics/orders/produce", lines, "application/x-ndjson").status_code == 200
    values = [{"id": 1}, {"note": "a:b", "tags": {"x:y": 1, "\u00e9": 2}, "rows": [{}, {"a": 1}]}]
    body = json.dumps({"records": [{"value": value} for value in values]})
    assert api.post(f"/api/topics/orders/produce{avro}", body).status_code == 200

    assert looked == []
    api.post("/api/topics/orders/produce", '{"records":[{"value":1,"value":2}]}')
    assert len(looked) == 1


def test_what_json_stores_is_not_looked_into(api: Api, topic: str) -> None:
    body = '{"records":[{"partition":0,"value":{"a" : 1, "a" : 2, "\\u0061":3}}]}'

    assert api.post("/api/topics/orders/produce", body).status_code == 200
    assert values(api) == ['{"a" : 1, "a" : 2, "\\u0061":3}']


@pytest.fixture
def avro(api: Api, topic: str) -> str:
    """The query for values by the schema of orders."""
    assert api.post("/registry/subjects/orders-value/versions", {"schema": json.dumps(ORDER)}).status_code == 200
    return "?value.format=avro"


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ('{"id":1,"id":2}', 'value: expected unique names, got "id" more than once'),
        ('{"id":1,"\\u0069d":1}', 'value: expected unique names, got "id" more than once'),
        ('{"note":"\\u003a","id":1,"id":2}', 'value: expected unique names, got "id" more than once'),
        ('{"id":1,"tags":{"a":1,"b":2,"a":3}}', 'value/tags: expected unique names, got "a" more than once'),
        ('{"rows":[{"a":1},{"b":1,"b":1}]}', 'value/rows/1: expected unique names, got "b" more than once'),
    ],
)
def test_a_repeated_name_in_avro_is_that_records_own_error(api: Api, avro: str, value: str, place: str) -> None:
    body = f'{{"records":[{{"value":{{"id":7}}}},{{"value":{value}}},{{"value":{{"note":"a:b\\u003a"}}}}]}}'

    answer = api.post(f"/api/topics/orders/produce{avro}", body)

    assert answer.status_code == 200, answer.content
    first, second, third = answer.json()["offsets"]
    assert "offset" in first
    assert "offset" in third
    assert second["error"] == f"record 1: {place}"
    assert second["code"] == "serialization_failed"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('{"name":"a","name":"b"}', "name"),
        ('{"name":"a","partitions":1,"partitions":2}', "partitions"),
        ('{"name":"a","n\\u0061me":"a"}', "name"),
        ('{"name":"a","retentionMs":null,"retentionMs":null}', "retentionMs"),
    ],
)
def test_a_topic_with_a_repeated_field_is_not_created(api: Api, body: str, name: str) -> None:
    answer = api.post("/api/topics", body)

    assert answer.status_code == 400
    assert answer.json()["detail"] == f'$: the field "{name}" appears more than once'
    assert api.get("/api/topics").json() == []


def test_a_topic_is_not_changed_by_a_repeated_field(api: Api, topic: str) -> None:
    body = '{"retentionMs":1,"retentionMs":2}'

    answer = api.client.patch("/api/topics/orders", body, content_type="application/json")

    assert answer.status_code == 400
    assert api.get("/api/topics/orders").json()["retentionMs"] is None


@pytest.mark.parametrize(
    ("method", "path", "body", "place"),
    [
        (
            "post",
            "/registry/subjects/s/versions",
            '{"schema":"\\"int\\"","schema":"\\"string\\""}',
            '$: the field "schema"',
        ),
        ("post", "/registry/subjects/s", '{"schema":"\\"int\\"","schema":"\\"string\\""}', '$: the field "schema"'),
        (
            "post",
            "/registry/compatibility/subjects/s/versions",
            '{"schema":"\\"int\\"","sch\\u0065ma":"1"}',
            '$: the field "schema"',
        ),
        (
            "post",
            "/registry/subjects/s/versions",
            '{"schema":"\\"int\\"","references":[{"name":"a","subject":"b","version":1,"version":2}]}',
            '$.references[0]: the field "version"',
        ),
        ("put", "/registry/config", '{"compatibility":"NONE","compatibility":"FULL"}', '$: the field "compatibility"'),
        ("put", "/registry/mode", '{"mode":"READONLY","mode":"READWRITE"}', '$: the field "mode"'),
    ],
)
def test_a_registry_body_with_a_repeated_field_changes_nothing(
    api: Api, method: str, path: str, body: str, place: str
) -> None:
    answer = getattr(api.client, method)(path, body, content_type="application/json")

    assert answer.status_code == 422
    assert answer.json()["error_code"] == 422
    assert f"{place} appears more than once" in answer.json()["message"]
    assert api.get("/registry/subjects").json() == []
    assert api.get("/registry/config").json() == {"compatibilityLevel": "BACKWARD"}


# Numbers and nesting without end


HUGE = "9" * 4301
DEEP = "[" * 950 + "]" * 950
DEEP_OBJECT = '{"a":' * 950 + "1" + "}" * 950
ANYWHERE = [
    '{"valueSchema":"string","records":[{"value":%s}]}',
    '{"valueSchema":"string","records":[{"partition":%s}]}',
    '{"keySchema":"int","records":[{"timestamp":%s}]}',
    '{"valueSchema":%s,"records":[{}]}',
    '{"valueSchema":{"type":"int","x":%s},"records":[{"value":1}]}',
    '{"valueSchema":{"type":"fixed","name":"F","size":%s},"records":[{"value":"a"}]}',
    '{"records":[{"key":%s}]}',
    '{"records":[{"headers":[{"key":"k","value":%s}]}]}',
    '{"records":%s}',
    '{"x":%s}',
    "%s",
]


@pytest.mark.parametrize("query", ["", "?value.format=avro", "?key.format=avro&value.format=string", "?async=true"])
def test_no_number_and_no_nesting_is_a_fault_of_the_server(api: Api, topic: str, query: str) -> None:
    for text in (HUGE, f"-{HUGE}", f"1{HUGE}.5", f"1e{HUGE}", DEEP, DEEP_OBJECT):
        for where in ANYWHERE:
            answer = api.post(f"/api/topics/orders/produce{query}", where % text)
            assert answer.status_code < 500, (where, text[:6], answer.content)
        line = api.post(f"/api/topics/orders/produce{query}", f'{{"value":{text}}}', "application/x-ndjson")
        assert line.status_code < 500, (text[:6], line.content)


@pytest.mark.parametrize("text", [HUGE, DEEP, DEEP_OBJECT, f"{HUGE}.5"], ids=lambda text: text[:6])
def test_nor_is_it_in_other_bodies(api: Api, topic: str, text: str) -> None:
    for body in (
        text,
        f'{{"name":"a","partitions":{text}}}',
        f'{{"name":{text}}}',
        f'{{"name":"a","retentionMs":{text}}}',
    ):
        assert api.post("/api/topics", body).status_code == 400
        answer = api.client.patch("/api/topics/orders", body, content_type="application/json")
        assert answer.status_code == 400
    for body in (
        text,
        f'{{"schema":{text}}}',
        f'{{"schema":"\\"int\\"","x":{text}}}',
        f'{{"schema":"\\"int\\"","references":[{{"name":"a","subject":"b","version":{text}}}]}}',
        f'{{"schema":"\\"int\\"","metadata":{text}}}',
    ):
        answer = api.post("/registry/subjects/s/versions", body)
        assert answer.status_code == 422, answer.content
        assert len(answer.content) < 1000
    for query in (f"offset={text}", f"limit=-{text}", f"offset={text}&limit={text}"):
        assert api.get(f"/registry/subjects?{query}").status_code == 400
        assert api.get(f"/api/topics/orders/messages?{query}").status_code == 400


def test_the_admin_shows_any_schema_that_is_registered(api: Api) -> None:
    admin = Client()
    admin.force_login(User.objects.create_superuser("admin", password="correct horse battery"))
    for extra in ("[" * 90 + "]" * 90, "9" * 300, '"\u2028é"'):
        schema = f'{{"type":"record","name":"R{len(extra)}","fields":[],"extra":{extra}}}'
        subject = f"s{len(extra)}"
        assert api.post(f"/registry/subjects/{subject}/versions", {"schema": schema}).status_code == 200

        for right in ("1", "", "0000000001" + HUGE, HUGE):
            page = admin.get(f"/admin/registry/subjectversion/subject/?subject={subject}&right={right}")
            assert page.status_code == 200


# Half a surrogate pair


HALVES = [r'"cut \ud83d"', r'"\uDC00\uD800"', r'{"\ud800":["\udfff"]}', r'"\\\ud800"', r'["\ud83d\ude00\ud83d"]']


@pytest.mark.parametrize("value", HALVES)
def test_json_keeps_half_a_pair_as_it_was_sent(api: Api, topic: str, value: str) -> None:
    body = f'{{"records":[{{"value":1,"partition":0}},{{"key":{value},"value":{value},"partition":0}}]}}'

    assert api.post("/api/topics/orders/produce", body).status_code == 200
    line = f'{{"key":{value},"value":{value},"partition":0}}'
    assert (
        api.post(
            "/api/topics/orders/produce", f'{{"value":"\\ud83d\\ude00"}}\n{line}', "application/x-ndjson"
        ).status_code
        == 200
    )

    read = api.messages("orders", partition=0)
    assert [(message["key"], message["value"]) for message in read if message["value"] != r'"\ud83d\ude00"'] == [
        (None, "1"),
        (value, value),
        (value, value),
    ]


@pytest.mark.parametrize(
    "query", ["value.format=string", "value.format=binary", "key.format=string", "value.format=avro"]
)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_half_a_pair_fails_its_own_record_alone(api: Api, avro: str, query: str, asynchronous: bool) -> None:
    value = '"QQ=="' if "binary" in query else '{"id":1,"note":"%s"}' if "avro" in query else '"%s"'
    value = value.replace("%s", r"cut \ud83d") if "binary" not in query else '"\\ud83d"'
    good = {"value.format=avro": '{"id":1}', "value.format=binary": '"QQ=="'}.get(query, '"good"')
    bad = f'"key":{value}' if query.startswith("key") else f'"value":{value}'
    body = f'{{"records":[{{"value":{good}}},{{{bad}}},{{"value":{good}}}]}}'

    answer = api.post(f"/api/topics/orders/produce?{query}&async={asynchronous}", body)
    offsets = finished(api, answer) if asynchronous else answer.json()["offsets"]

    assert ["offset" in outcome for outcome in offsets] == [True, False, True]
    assert offsets[1]["code"] == "serialization_failed"
    assert "surrogate" in offsets[1]["error"] or "ud83d" in offsets[1]["error"]


def finished(api: Api, answer: Any) -> Any:
    assert answer.status_code == 202, answer.content
    new_worker().work_once()
    status = api.get(f"/api/produce/status/{answer.json()['requestId']}").json()
    assert status["status"] == "completed", status
    return status["offsets"]


@pytest.mark.parametrize(
    "header",
    [
        r'{"key":"\ud83d"}',
        r'{"key":"k","value":"cut \ud83d"}',
        r'{"key":"\udc00\ud83d","value":null}',
        r'{"key":"k","value":{"base64":"\ud83d"}}',
    ],
)
def test_half_a_pair_in_a_header_fails_its_record_alone(api: Api, topic: str, header: str) -> None:
    for body, content_type in (
        (f'{{"records":[{{"value":1}},{{"headers":[{header}]}},{{"value":3}}]}}', "application/json"),
        (f'{{"value":1}}\n{{"headers":[{header}]}}\n{{"value":3}}', "application/x-ndjson"),
    ):
        answer = api.post("/api/topics/orders/produce", body, content_type)

        assert answer.status_code == 200, answer.content
        offsets = answer.json()["offsets"]
        assert ["offset" in outcome for outcome in offsets] == [True, False, True]
        assert offsets[1]["error"].startswith("record 1: serialize header ")


def test_an_async_record_with_half_a_pair_is_stored_as_sent(api: Api, topic: str) -> None:
    body = r'{"records":[{"value":"cut \ud83d","partition":0}]}'

    offsets = finished(api, api.post("/api/topics/orders/produce?async=true", body))

    assert "offset" in offsets[0]
    assert values(api) == [r'"cut \ud83d"']


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (r'{"records":[{"val\ud800ue":1}]}', r"$.records[0]: object contains unknown field val\ud800ue"),
        (r'{"\ud800":[]}', r"$: object contains unknown field \ud800"),
        (r'{"keySchema":"\ud800","records":[{}]}', "$.keySchema: contains an unpaired surrogate"),
        (r'{"valueSchema":{"type":"\ud800"},"records":[{}]}', "$.valueSchema: contains an unpaired surrogate"),
        (r'{"records":[{"value":"\ud800"},{"partition":"x"}]}', "$.records[1].partition: expected integer, got string"),
        (r'{"records":[{"value":"\ud800"}', "the JSON text is truncated"),
        (r'{"records":[{"value":"\ud80"}]}', "JSON is malformed"),
        (r'{"records":[{"value":\ud800}]}', "JSON is malformed"),
    ],
)
def test_half_a_pair_hides_no_other_fault(api: Api, topic: str, body: str, detail: str) -> None:
    assert refused(api, body).startswith(detail)


def test_half_a_pair_in_other_bodies_is_refused(api: Api, topic: str) -> None:
    assert api.post("/api/topics", r'{"name":"\ud800"}').status_code == 400
    assert api.post("/registry/subjects/s/versions", r'{"schema":"\ud800"}').status_code == 422


def test_half_a_pair_is_shown_wherever_records_and_requests_are(api: Api, topic: str) -> None:
    admin = Client()
    admin.force_login(User.objects.create_superuser("admin", password="correct horse battery"))
    body = r'{"records":[{"key":"\ud800","value":{"a":"\ud83d"},"partition":0},{"headers":[{"key":"\udfff"}]}]}'
    assert api.post("/api/topics/orders/produce", body).status_code == 200
    row = ProduceRequest.objects.get()

    records = admin.get("/admin/topics/recordbatch/records/?topic=orders&partition=0")
    request = admin.get(f"/admin/producer/producerequest/{row.pk.replace('_', '_5F')}/change/")
    status = api.get(f"/api/produce/status/{row.pk}")

    assert r"\ud83d" in records.content.decode()
    assert r"\udfff" in request.content.decode()
    assert status.json()["offsets"][1]["code"] == "serialization_failed"
    assert api.get("/api/topics/orders/messages?decode=true").json()[0]["key"] == r'"\ud800"'


# Bytes before and within the text


@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
def test_a_byte_order_mark_is_skipped(api: Api, topic: str, content_type: str) -> None:
    body = b'{"records":[{"value":1}]}' if "nd" not in content_type else b'{"value":1}\n\xef\xbb\xbf{"value":2}'

    assert api.post("/api/topics/orders/produce", b"\xef\xbb\xbf" + body, content_type).status_code == 200


def test_a_byte_order_mark_is_skipped_elsewhere(api: Api) -> None:
    assert api.post("/api/topics", b'\xef\xbb\xbf{"name":"marked"}').status_code == 201
    assert api.post("/registry/subjects/s/versions", b'\xef\xbb\xbf{"schema":"\\"int\\""}').status_code == 200


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_utf_16_is_named(api: Api, topic: str, encoding: str) -> None:
    body = '{"records":[{"value":"é"}]}'.encode(encoding)

    assert "send it as UTF-8" in refused(api, body)
    assert "send it as UTF-8" in refused(api, body, "application/x-ndjson")
    assert "UTF-8" in api.post("/api/topics", '{"name":"a"}'.encode(encoding)).json()["detail"]
    assert "UTF-8" in api.post("/registry/subjects/s/versions", "{}".encode(encoding)).json()["message"]


def test_bytes_that_are_not_utf_8_are_named_with_their_line(api: Api, topic: str) -> None:
    body = b'{"value":1}\n{"value":"\xff"}\n'

    assert refused(api, body, "application/x-ndjson") == "the body is not UTF-8: byte 22 is 0xff, on line 2"


# What was expected


@pytest.mark.parametrize(
    "body",
    [
        '[{"value":1}]',
        "[]",
        '"text"',
        "5",
        "1.5",
        "true",
        "null",
        '{"value":1}',
        '{"key":"k","value":1}',
        '{"record":[]}',
    ],
)
def test_json_that_is_no_envelope_is_shown_one(api: Api, topic: str, body: str) -> None:
    detail = refused(api, body)

    assert detail.endswith('; expected {"records": [{"key": "k", "value": 1}]}')
    assert detail.startswith("$: ")


@pytest.mark.parametrize("line", ['[{"value":1}]', "5", '{"records":[{"value":1}]}', '{"vlaue":1}'])
def test_a_line_that_is_no_record_is_shown_one(api: Api, topic: str, line: str) -> None:
    detail = refused(api, f'{{"value":0}}\n{line}', "application/x-ndjson")

    assert detail.endswith('; expected one record per line, such as {"key": "k", "value": 1}')
    assert detail.startswith("line 2: $: ")


def test_an_empty_object_has_no_records(api: Api, topic: str) -> None:
    answer = api.post("/api/topics/orders/produce", "{}")

    assert answer.status_code == 400
    assert answer.json()["code"] == "no_records"


ODD = [
    "null",
    "true",
    "5",
    "1.5",
    '"x"',
    "[]",
    "{}",
    "[1]",
    '{"x":1}',
    '"',
    "{",
    "",
    "NaN",
    HUGE,
    "1e999",
    '"\\ud800"',
    "tru",
]
SHAPES = [
    ("/api/topics/orders/produce", ["%s", '{"records":%s}', '{"records":[%s]}', '{"records":[{"partition":%s}]}']),
    ("/api/topics/orders/produce", ['{"records":[{"timestamp":%s}]}', '{"records":[{"headers":%s}]}']),
    ("/api/topics/orders/produce", ['{"records":[{"headers":[%s]}]}', '{"records":[{"headers":[{"key":%s}]}]}']),
    (
        "/api/topics/orders/produce",
        ['{"records":[{"headers":[{"key":"k","value":%s}]}]}', '{"valueSchema":%s,"records":[]}'],
    ),
    ("/api/topics", ["%s", '{"name":%s}', '{"name":"a","partitions":%s}', '{"name":"a","retentionMs":%s}']),
    ("/api/topics", ['{"name":"a","registersSchemas":%s}', '{"name":"a","retentionBytes":%s}', '{"x":%s}']),
    (
        "/registry/subjects/s/versions",
        ["%s", '{"schema":%s}', '{"schema":"\\"int\\"","schemaType":%s}', '{"schema":"\\"int\\"","metadata":%s}'],
    ),
    (
        "/registry/subjects/s/versions",
        ['{"schema":"\\"int\\"","references":%s}', '{"schema":"\\"int\\"","references":[%s]}'],
    ),
    ("/registry/subjects/s", ["%s", '{"schema":%s}']),
]


@pytest.mark.parametrize(("path", "shapes"), SHAPES)
def test_no_answer_speaks_of_python(api: Api, topic: str, path: str, shapes: list[str]) -> None:
    for shape in shapes:
        for odd in ODD:
            answer = api.post(path, shape.replace("%s", odd))
            said = answer.json().get("detail", answer.json().get("message", "")) if answer.status_code >= 400 else ""
            assert answer.status_code < 500, (shape, odd[:20], answer.content)
            assert not PYTHON.search(said), (shape, odd[:20], said)


# Work that grows with the body, and with nothing else


def filled(before: bytes, unit: bytes, after: bytes) -> bytes:
    return before + unit * ((10 * MIB - len(before) - len(after)) // len(unit)) + after


LABOURS: dict[str, tuple[bytes, str]] = {
    "strings with brackets": (filled(b'{"records":[{"value":[', b'"[",', b'""]}]}'), "application/json"),
    "brackets around them": (filled(b'{"records":[{"value":[', b'["["],', b'""]}]}'), "application/json"),
    "flat": (filled(b'{"records":[{"value":[', b"[],", b"[]]}]}"), "application/json"),
    "deep": (filled(b'{"records":[{"value":[', b"[" * 99 + b"]" * 99 + b",", b"[]]}]}"), "application/json"),
    "deep in each record": (
        filled(b'{"records":[', b'{"value":[' + b",".join([b"[" * 99 + b"]" * 99] * 6) + b"]},", b"{}]}"),
        "application/json",
    ),
    "escapes": (filled(b'{"records":[{"value":"', b"\\u003a", b'"}]}'), "application/json"),
    "halves": (filled(b'{"records":[{"value":"', b"\\ud800", b'"}]}'), "application/json"),
    "backslashes": (filled(b'{"records":[{"value":"\\ud800', b"\\\\", b'"}]}'), "application/json"),
    "one field a million times": (filled(b'{"records":[{', b'"value":1,', b'"value":1}]}'), "application/json"),
    "headers": (filled(b'{"records":[{"headers":[', b'{"key":""},', b'{"key":""}]}]}'), "application/json"),
    "digits": (filled(b'{"records":[{"value":', b"1", b"}]}"), "application/json"),
    "spaces": (filled(b'{"records":[{"value":1', b" ", b"}]}"), "application/json"),
    "blank lines": (filled(b"", b"\n", b""), "application/x-ndjson"),
    "lines of spaces": (filled(b"", b" \r\n", b"{}"), "application/x-ndjson"),
}


@pytest.mark.parametrize("before", [0, 70_000, 200_000])
def test_a_field_that_comes_twice_is_found_behind_large_values(api: Api, topic: str, before: int) -> None:
    large = json.dumps("x" * before)

    assert refused(api, f'{{"records":[{{"key":{large},"value":1}},{{"value":{large},"value":2}}]}}') == (
        '$.records[1]: the field "value" appears more than once'
    )


@hypothesis.given(
    st.lists(st.tuples(st.sampled_from([b":", b"{", b"x:", b""]), st.integers(0, 40_000)), max_size=12),
    st.integers(0, 3),
)
def test_a_byte_is_counted_wherever_it_is(parts: list[tuple[bytes, int]], dense: int) -> None:
    text = b"".join(part + b"x" * gap for part, gap in parts) + b":" * dense * 20_000

    assert counting.count(text, b":") == text.count(b":")


@pytest.mark.parametrize("labour", LABOURS)
def test_ten_megabytes_take_no_more_than_a_moment(api: Api, topic: str, labour: str) -> None:
    """Eight megabytes of `["` took two seconds; with each level looked for in turn, some of these took ten."""
    body, content_type = LABOURS[labour]
    before = time.thread_time()

    answer = api.post("/api/topics/orders/produce", body, content_type)

    assert answer.status_code < 500
    assert time.thread_time() - before < 3


@pytest.mark.no_database
def test_nesting_is_told_as_it_is() -> None:
    def depth(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return 1 + max(map(depth, inner), default=0) if isinstance(value, dict | list) else 0

    for value in (
        1,
        [],
        [[[]], {"a": [[[]]]}],
        {"]": "[[[[", '\\"[': ["\\", '"', '["]', {}]},
        [["[\\", "\\\\\\", '"[', "]", ""], [[]]],
        json.loads("[" * 30 + '{"a":"[[["},' + "[]" + "]" * 30),
    ):
        for text in (json.dumps(value).encode(), json.dumps(value, indent=1).encode()):
            for levels in range(1, 40):
                assert is_deeper(text, levels) is (depth(value) > levels), (text, levels)


# Whatever the body


def spelled(name: str) -> st.SearchStrategy[str]:
    """A field's name with some of its letters escaped."""
    letters = [
        st.sampled_from([letter, letter, letter, f"\\u{ord(letter):04x}", f"\\u{ord(letter):04X}"]) for letter in name
    ]
    return st.tuples(*letters).map("".join)


TEXTS = st.lists(
    st.sampled_from([":", "\\u003a", "\\u003A", "\\\\", '\\"', "{", "]", "u003a", "é", "\\ud800", "\\udfff"])
)
STRINGS = TEXTS.map(lambda parts: f'"{"".join(parts)}"')
VALUES = st.one_of(STRINGS, st.sampled_from(["null", "1", '{"value":1,"value":2}', '[{"key":":"}]']))
HEADERS = st.sampled_from(["null", "[]", '[{"key":":\\u003a","value":"\\u003A"},{"key":"","value":null}]'])
FIELDS = st.one_of(
    st.tuples(st.just("key"), VALUES),
    st.tuples(st.just("value"), VALUES),
    st.tuples(st.just("partition"), st.sampled_from(["null", "0"])),
    st.tuples(st.just("headers"), HEADERS),
)


@st.composite
def sent_records(draw: st.DrawFn) -> tuple[list[str], int | None]:
    """Records as text, and the index of the first that has a field twice."""
    records, first = [], None
    for index, fields in enumerate(draw(st.lists(st.lists(FIELDS, max_size=4), min_size=1, max_size=4))):
        names = [name for name, _ in fields]
        if len(set(names)) < len(names) and first is None:
            first = index
        space = draw(st.sampled_from(["", " ", "\t"]))
        members = (f'"{draw(spelled(name))}"{space}:{space}{value}' for name, value in fields)
        records.append(f"{{{space}{f',{space}'.join(members)}}}")
    return records, first


@pytest.mark.no_database
@hypothesis.settings(max_examples=300, deadline=None, database=None, derandomize=True)
@hypothesis.given(sent_records(), st.booleans())
def test_a_field_that_is_sent_is_kept_or_refused(sent: tuple[list[str], int | None], is_lines: bool) -> None:
    records, first = sent
    body = "\n".join(records) if is_lines else f'{{"records":[{",".join(records)}]}}'
    place = f"line {(first or 0) + 1}: $:" if is_lines else f"$.records[{first}]:"
    try:
        decoded, fault = (decode.lines if is_lines else decode.envelope)(body.encode()).records, ""
    except InvalidBody as error:
        decoded, fault = [], str(error)

    assert fault.startswith(place if first is not None else "")
    assert bool(fault) is (first is not None)
    for record, text in zip(decoded, records, strict=False):
        assert bytes(record.value) in text.encode() or bytes(record.value) == b"null"
