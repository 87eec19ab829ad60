"""Avro keys and values: which schema is meant, what is stored, what is answered."""

import io
import json
import struct
from typing import Any

import fastavro
import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from producer.queue.threads import new_worker
from tests.conftest import Api
from topics.models import RecordBatch

USER = {
    "type": "record",
    "name": "User",
    "namespace": "com.acme",
    "fields": [
        {"name": "name", "type": "string"},
        {"name": "age", "type": ["null", "int"], "default": None},
    ],
}


def register(api: Api, subject: str, schema: Any) -> int:
    answer = api.post(f"/registry/subjects/{subject}/versions", {"schema": json.dumps(schema)})
    assert answer.status_code == 200, answer.content
    schema_id: int = answer.json()["id"]
    return schema_id


def stored(api: Api, topic: str) -> list[bytes | None]:
    """The values of a topic with one partition, as stored."""
    from topics.log import current_log

    return [record.value for record in current_log().read(topic, 0, 0, 100)]


@pytest.fixture
def users(api: Api) -> str:
    return api.create_topic("users", 1)


def test_it_works(api: Api, users: str) -> None:
    schema_id = register(api, "users-value", USER)

    answer = api.produce(
        users, [{"value": {"name": "Ada", "age": 36}}, {"value": {"name": "Bob"}}], value_format="avro"
    )

    assert answer.status_code == 200, answer.content
    assert answer.json()["valueSchemaId"] == schema_id
    assert "keySchemaId" not in answer.json()
    for value, expected in zip(stored(api, users), [("Ada", 36), ("Bob", None)], strict=True):
        assert value is not None
        assert struct.unpack(">bI", value[:5]) == (0, schema_id)
        read = fastavro.schemaless_reader(io.BytesIO(value[5:]), USER)
        assert read == {"name": expected[0], "age": expected[1]}


def test_null_stays_a_null_without_a_prefix(api: Api, users: str) -> None:
    register(api, "users-value", USER)

    api.produce(users, [{"value": None}, {"key": "k"}], value_format="avro")

    assert stored(api, users) == [None, None]


def test_a_key_has_a_subject_of_its_own(api: Api, users: str) -> None:
    key_id = register(api, "users-key", "long")
    value_id = register(api, "users-value", USER)

    answer = api.produce(users, [{"key": 7, "value": {"name": "Ada"}}], key_format="avro", value_format="avro")

    assert (answer.json()["keySchemaId"], answer.json()["valueSchemaId"]) == (key_id, value_id)


@pytest.mark.parametrize(
    ("parameters", "version"),
    [
        ({"value.schema": "people"}, 2),
        ({"value.schema": "people:1"}, 1),
        ({"value.schema": "people:2"}, 2),
    ],
)
def test_a_subject_and_a_version(api: Api, users: str, parameters: dict[str, str], version: int) -> None:
    newer = {**USER, "fields": [*USER["fields"], {"name": "city", "type": "string", "default": ""}]}
    ids = {1: register(api, "people", USER), 2: register(api, "people", newer)}

    answer = api.produce(users, [{"value": {"name": "Ada"}}], value_format="avro", **parameters)

    assert answer.json()["valueSchemaId"] == ids[version]


def test_a_schema_id(api: Api, users: str) -> None:
    schema_id = register(api, "elsewhere", USER)

    answer = api.produce(
        users, [{"value": {"name": "Ada"}}], **{"value.format": "avro", "value.schema.id": str(schema_id)}
    )

    assert answer.json()["valueSchemaId"] == schema_id


@pytest.mark.parametrize(
    ("parameters", "looked_for"),
    [
        ({"value.schema": "nobody"}, "'nobody'"),
        ({"value.schema": "users-value:9"}, "version 9 of subject 'users-value'"),
        ({"value.schema.id": "4711"}, "id 4711"),
    ],
)
@pytest.mark.parametrize("mode", ["false", "true"])
def test_what_is_not_found_is_404(api: Api, users: str, parameters: dict[str, str], looked_for: str, mode: str) -> None:
    register(api, "users-value", USER)

    answer = api.produce(users, [{"value": {"name": "Ada"}}], async_=mode, **{"value.format": "avro", **parameters})

    assert answer.status_code == 404
    assert answer.json()["code"] == "schema_not_found"
    assert looked_for in answer.json()["detail"]


@pytest.mark.parametrize("part", ["key", "value"])
def test_without_a_schema_the_topics_own_subject_must_exist(api: Api, users: str, part: str) -> None:
    answer = api.produce(users, [{"value": 1}], **{f"{part}.format": "avro"})

    assert answer.status_code == 400
    assert answer.json()["error"] == f"{part}.schema required when {part}.format=avro"
    assert f"'users-{part}'" in answer.json()["detail"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"value.schema": "users-value"},
        {"value.schema.id": "1"},
        {"value.format": "avro", "value.schema.id": "x"},
        {"value.format": "avro", "value.schema.id": "-1"},
        {"value.format": "avro", "value.schema.id": "99999999999"},
        {"value.format": "avro", "value.schema": "users-value", "value.schema.id": "1"},
    ],
)
def test_parameters_that_make_no_sense_are_400(api: Api, users: str, parameters: dict[str, str]) -> None:
    register(api, "users-value", USER)

    assert api.produce(users, [{"value": 1}], **parameters).json()["code"] == "invalid_parameter"


def test_a_record_that_does_not_fit_is_that_records_error(api: Api, users: str) -> None:
    register(api, "users-value", USER)

    answer = api.produce(
        users, [{"value": {"name": "Ada"}}, {"value": {"name": "Bob", "age": "x1"}}], value_format="avro"
    )

    good, bad = answer.json()["offsets"]
    assert "offset" in good
    assert bad["code"] == "serialization_failed"
    assert bad["error"].startswith("record 1: value/age: expected ")
    assert bad["error"].endswith('got "x1"')


def inline(schema: Any, records: list[Any], **members: Any) -> str:
    return json.dumps({"valueSchema": schema, "records": records, **members})


@pytest.mark.parametrize("schema", [USER, json.dumps(USER)])
def test_an_inline_schema_is_registered_under_the_topics_subject(api: Api, users: str, schema: Any) -> None:
    body = inline(schema, [{"value": {"name": "Ada"}}])

    first = api.produce(users, body, value_format="avro")
    again = api.produce(users, body, value_format="avro")

    assert first.status_code == 200, first.content
    assert first.json()["valueSchemaId"] == again.json()["valueSchemaId"]
    assert api.get("/registry/subjects/users-value/versions").json() == [1]


@pytest.mark.parametrize("schema", ["string", '"string"', {"type": "string"}])
def test_an_inline_schema_may_be_a_primitive(api: Api, users: str, schema: Any) -> None:
    answer = api.produce(users, inline(schema, [{"value": "Ada"}]), value_format="avro")

    assert answer.status_code == 200, answer.content
    assert stored(api, users)[0][5:] == b"\x06Ada"


def test_an_inline_schema_may_name_its_subject(api: Api, users: str) -> None:
    api.produce(users, inline(USER, [{"value": {"name": "Ada"}}]), **{"value.format": "avro", "value.schema": "people"})

    assert api.get("/registry/subjects").json() == ["people"]


def test_an_inline_schema_that_breaks_the_subject_is_refused(api: Api, users: str) -> None:
    register(api, "users-value", USER)
    other = {**USER, "fields": [{"name": "number", "type": "long"}]}

    answer = api.produce(users, inline(other, [{"value": {"number": 1}}]), value_format="avro")

    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_schema"


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, "{", 5, True, [], {"type": "record", "name": "X"}])
def test_an_inline_schema_that_is_none_is_400(api: Api, users: str, schema: Any) -> None:
    answer = api.produce(users, inline(schema, [{"value": 1}]), value_format="avro")

    assert answer.status_code == 400
    assert answer.json()["code"] in ("invalid_schema", "invalid_request_body")


def test_an_inline_schema_without_avro_is_400(api: Api, users: str) -> None:
    answer = api.produce(users, inline(USER, [{"value": 1}]))

    assert answer.json()["detail"] == "$.valueSchema requires value.format=avro"


def test_members_beside_an_inline_schema_stand_once(api: Api, users: str) -> None:
    body = '{"valueSchema":"string","records":[{"value":"a"}],"valueSchema":"string"}'

    assert api.produce(users, body, value_format="avro").json()["code"] == "invalid_request_body"


def test_a_topic_may_forbid_to_register(api: Api) -> None:
    api.create_topic("closed", 1, registersSchemas=False)
    body = inline(USER, [{"value": {"name": "Ada"}}])

    forbidden = api.produce("closed", body, value_format="avro")
    register(api, "closed-value", USER)
    known = api.produce("closed", body, value_format="avro")

    assert forbidden.status_code == 403
    assert forbidden.json()["code"] == "registration_forbidden"
    assert known.status_code == 200


def test_a_key_without_the_scope_may_not_register(api: Api, users: str, settings: Any) -> None:
    from producer.models import ApiKey

    secrets = {}
    for name, scopes in (("writer", "produce"), ("owner", "produce,schemas")):
        key = ApiKey(name=name, scopes=scopes)
        secrets[name] = key.issue_secret()
        key.save()
    settings.TAKHIN_REQUIRE_API_KEY = True
    path = f"/api/topics/{users}/produce?value.format=avro"
    body = inline(USER, [{"value": {"name": "Ada"}}])

    assert api.post(path, body, Authorization=f"Bearer {secrets['writer']}").status_code == 403
    assert api.post(path, body, Authorization=f"Bearer {secrets['owner']}").status_code == 200
    assert api.post(path, body, Authorization=f"Bearer {secrets['writer']}").status_code == 200


@pytest.mark.parametrize(
    ("strategy", "subject"),
    [("topic", "users-value"), ("record", "com.acme.User"), ("topic-record", "users-com.acme.User")],
)
def test_the_subject_name_strategy(api: Api, users: str, settings: Any, strategy: str, subject: str) -> None:
    settings.TAKHIN_SUBJECT_NAME_STRATEGY = strategy

    assert api.produce(users, inline(USER, [{"value": {"name": "Ada"}}]), value_format="avro").status_code == 200

    assert api.get("/registry/subjects").json() == [subject]
    alone = api.produce(users, [{"value": {"name": "Ada"}}], value_format="avro")
    assert alone.status_code == (200 if strategy == "topic" else 400)


def test_async_keeps_the_schema_that_was_meant_when_it_was_accepted(api: Api, users: str) -> None:
    schema_id = register(api, "users-value", USER)
    accepted = api.produce(users, [{"value": {"name": "Ada"}}], value_format="avro", async_="true").json()
    newer = {**USER, "fields": [*USER["fields"], {"name": "city", "type": "string", "default": ""}]}
    register(api, "users-value", newer)
    new_worker().work_once()

    status = api.get(f"/api/produce/status/{accepted['requestId']}").json()

    assert accepted["valueSchemaId"] == status["valueSchemaId"] == schema_id
    assert status["status"] == "completed"
    assert stored(api, users)[0][1:5] == struct.pack(">I", schema_id)


def test_reading_back_decodes_when_asked_to(api: Api, users: str) -> None:
    schema_id = register(api, "users-value", USER)
    api.produce(users, [{"key": "k", "value": {"name": "Ada", "age": 36}}], value_format="avro", key_format="string")

    (plain,) = api.messages(users)
    (decoded,) = api.messages(users, decode="true")

    assert plain["valueEncoding"] in ("utf-8", "base64")
    assert "valueSchemaId" not in plain
    assert (decoded["valueEncoding"], decoded["valueSchemaId"]) == ("avro", schema_id)
    assert json.loads(decoded["value"]) == {"name": "Ada", "age": 36}
    assert (decoded["key"], decoded["keyEncoding"]) == ("k", "utf-8")


@pytest.mark.parametrize("value", ["AAAAAAE=", "AA==", "AAAAEmcA", "AP////8A", ""])
def test_bytes_that_only_look_like_avro_are_shown_as_they_are(api: Api, users: str, value: str) -> None:
    register(api, "users-value", USER)
    api.produce(users, [{"value": value}], value_format="binary")

    (message,) = api.messages(users, decode="true")

    assert message["valueEncoding"] in ("utf-8", "base64")


def test_the_batch_is_stored_as_any_other(api: Api, users: str) -> None:
    register(api, "users-value", USER)
    api.produce(users, [{"value": {"name": "Ada"}}] * 100, value_format="avro", compression="zstd")

    assert RecordBatch.objects.get().codec == "zstd"
    assert len(api.messages(users, decode="true")) == 100


def test_the_record_browser_shows_it_as_json(api: Api, users: str) -> None:
    schema_id = register(api, "users-value", USER)
    api.produce(users, [{"value": {"name": "Ada <b>", "age": 36}}], value_format="avro")
    get_user_model().objects.create_superuser("boss", password="a-long-password")
    admin = Client()
    admin.login(username="boss", password="a-long-password")

    shown = admin.get("/admin/topics/recordbatch/records/?topic=users").content.decode()

    assert f"Avro with schema {schema_id}" in shown
    assert "Ada &lt;b&gt;" in shown


def test_a_schema_may_refer_to_others(api: Api, users: str) -> None:
    zip_code = {"type": "fixed", "name": "Zip", "namespace": "com.acme", "size": 2}
    address = {"type": "record", "name": "com.acme.Address", "fields": [{"name": "zip", "type": "Zip"}]}
    person = {"type": "record", "name": "Person", "fields": [{"name": "home", "type": "com.acme.Address"}]}
    register(api, "zip", zip_code)
    for subject, schema, name, referenced in (
        ("address", address, "com.acme.Zip", "zip"),
        ("users-value", person, "com.acme.Address", "address"),
    ):
        references = [{"name": name, "subject": referenced, "version": 1}]
        body = {"schema": json.dumps(schema), "references": references}
        answer = api.post(f"/registry/subjects/{subject}/versions", body)
        assert answer.status_code == 200, answer.content

    answer = api.produce(
        users, [{"value": {"home": {"zip": "AAE="}}}, {"value": {"home": {"zip": 1}}}], value_format="avro"
    )

    assert stored(api, users)[0][5:] == b"\x00\x01"
    assert answer.json()["offsets"][1]["error"].startswith("record 1: value/home/zip: expected ")
    assert json.loads(api.messages(users, decode="true")[0]["value"]) == {"home": {"zip": "AAE="}}
