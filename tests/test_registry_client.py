"""The registry as Confluent's own client, serializer and deserializer see it, unmodified."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient, SchemaRegistryError
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from devservers.takhin import LiveServer

pytestmark = pytest.mark.no_database

USER: dict[str, Any] = {
    "type": "record",
    "name": "User",
    "namespace": "com.acme",
    "fields": [{"name": "name", "type": "string"}],
}
OPTIONAL = {**USER, "fields": [*USER["fields"], {"name": "age", "type": ["null", "int"], "default": None}]}
REQUIRED = {**USER, "fields": [*USER["fields"], {"name": "age", "type": "int"}]}


@pytest.fixture
def client(live: LiveServer) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": f"{live.url}/registry"}) as made:
        yield made


def avro(schema: Any) -> Schema:
    return Schema(json.dumps(schema), "AVRO")


def code_of(error: pytest.ExceptionInfo[SchemaRegistryError]) -> tuple[int, int]:
    return error.value.http_status_code, error.value.error_code


def test_it_works(client: SchemaRegistryClient) -> None:
    schema_id = client.register_schema("works-value", avro(USER))

    assert client.register_schema("works-value", avro(USER)) == schema_id
    found = client.get_latest_version("works-value")
    assert (found.subject, found.version, found.schema_id) == ("works-value", 1, schema_id)
    assert json.loads(client.get_schema(schema_id).schema_str or "") == USER
    assert client.lookup_schema("works-value", avro(USER)).version == 1
    assert "works-value" in client.get_subjects()
    assert client.get_versions("works-value") == [1]


def test_equal_schemas_share_an_id_over_subjects(client: SchemaRegistryClient) -> None:
    spaced = Schema(json.dumps(USER, indent=4), "AVRO")

    assert client.register_schema("shared-a", avro(USER)) == client.register_schema("shared-b", spaced)


def test_a_subject_evolves_as_far_as_its_level_allows(client: SchemaRegistryClient) -> None:
    client.register_schema("evolves", avro(USER))

    assert client.test_compatibility("evolves", avro(OPTIONAL))
    assert not client.test_compatibility("evolves", avro(REQUIRED))
    client.register_schema("evolves", avro(OPTIONAL))
    with pytest.raises(SchemaRegistryError) as refused:
        client.register_schema("evolves", avro(REQUIRED))
    assert code_of(refused) == (409, 409)
    assert "age" in refused.value.error_message

    client.set_compatibility("evolves", "NONE")
    client.register_schema("evolves", avro(REQUIRED))
    assert client.get_versions("evolves") == [1, 2, 3]
    assert client.get_compatibility("evolves") == "NONE"


def test_references(client: SchemaRegistryClient) -> None:
    client.register_schema("address", avro({"type": "record", "name": "Address", "fields": []}))
    person = {"type": "record", "name": "Person", "fields": [{"name": "home", "type": "Address"}]}
    schema = Schema(json.dumps(person), "AVRO", [SchemaReference("Address", "address", 1)])

    schema_id = client.register_schema("person", schema)

    found = client.get_schema(schema_id)
    assert [(reference.name, reference.subject, reference.version) for reference in found.references or []] == [
        ("Address", "address", 1)
    ]
    with pytest.raises(SchemaRegistryError) as refused:
        client.delete_subject("address")
    assert code_of(refused) == (422, 42206)


def test_deleting_is_soft_and_then_for_good(client: SchemaRegistryClient) -> None:
    client.register_schema("deleted", avro(USER))
    with pytest.raises(SchemaRegistryError) as too_early:
        client.delete_version("deleted", 1, permanent=True)
    assert code_of(too_early) == (404, 40407)

    assert client.delete_subject("deleted") == [1]
    with pytest.raises(SchemaRegistryError) as gone:
        client.get_latest_version("deleted")
    assert code_of(gone) == (404, 40401)
    assert client.get_versions("deleted", deleted=True) == [1]
    assert client.delete_subject("deleted", permanent=True) == [1]
    client.register_schema("deleted", avro(USER))
    assert client.get_versions("deleted") == [1]


@pytest.mark.parametrize("subject", ["a/b", "a b", "a%2Fb", "ä", "x:y", "versions", "a/versions/b"])
def test_a_subject_of_any_name(client: SchemaRegistryClient, subject: str) -> None:
    client.register_schema(subject, avro(USER))

    assert client.get_latest_version(subject).subject == subject
    assert subject in client.get_subjects()


def test_what_is_not_there(client: SchemaRegistryClient) -> None:
    for call, expected in (
        (lambda: client.get_schema(999_999), (404, 40403)),
        (lambda: client.get_latest_version("nobody"), (404, 40401)),
        (lambda: client.get_version("nobody", 1), (404, 40401)),
        (lambda: client.lookup_schema("nobody", avro(USER)), (404, 40401)),
        (lambda: client.register_schema("broken", Schema("{", "AVRO")), (422, 42201)),
        (lambda: client.register_schema("json", Schema("{}", "JSON")), (422, 42201)),
        (lambda: client.set_compatibility("nobody", "SOMETIMES"), (422, 42203)),
    ):
        with pytest.raises(SchemaRegistryError) as refused:
            call()
        assert code_of(refused) == expected


def test_records_go_both_ways(live: LiveServer, client: SchemaRegistryClient) -> None:
    """What HTTP produces, the deserializer reads; what the serializer writes, reading back decodes."""
    context = SerializationContext("both-ways", MessageField.VALUE)
    live.create_topic("both-ways", 1)
    client.register_schema("both-ways-value", avro(OPTIONAL))
    produced = live.produce("both-ways", [{"value": {"name": "Ada", "age": 36}}], **{"value.format": "avro"})
    assert produced.status_code == 200, produced.text
    data = AvroSerializer(client, json.dumps(OPTIONAL))({"name": "Bob", "age": None}, context)
    live.produce("both-ways", [{"value": base64.b64encode(data).decode()}], **{"value.format": "binary"})

    first, second = live.read("both-ways", 0)
    decoded = requests.get(f"{live.url}/api/topics/both-ways/messages?decode=true", timeout=10).json()

    raw = base64.b64decode(first["value"]) if first["valueEncoding"] == "base64" else first["value"].encode()
    assert AvroDeserializer(client)(raw, context) == {"name": "Ada", "age": 36}
    assert json.loads(decoded[1]["value"]) == {"name": "Bob", "age": None}
    assert decoded[0]["valueSchemaId"] == decoded[1]["valueSchemaId"] == produced.json()["valueSchemaId"]
    assert second["offset"] == 1


def test_keys_guard_it(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_REQUIRE_API_KEY="true").start()
    reader, owner = (
        server.manage("create_api_key", name, "--scopes", scopes).strip().splitlines()[-1]
        for name, scopes in (("reader", "read"), ("owner", "read,schemas"))
    )
    url = f"{server.url}/registry"

    def made(secret: str) -> SchemaRegistryClient:
        return SchemaRegistryClient({"url": url, "basic.auth.user.info": f"anyone:{secret}"})

    with made(owner) as client:
        schema_id = client.register_schema("guarded", avro(USER))
    with made(reader) as client:
        read = client.get_schema(schema_id).schema_str
        with pytest.raises(SchemaRegistryError) as forbidden:
            client.register_schema("guarded", avro(OPTIONAL))
    with made("wrong") as client, pytest.raises(SchemaRegistryError) as unknown:
        client.get_subjects()
    bearer = requests.get(f"{url}/subjects", headers={"Authorization": f"Bearer {reader}"}, timeout=10)
    missing = requests.get(f"{url}/subjects", timeout=10)
    server.stop()

    assert json.loads(read or "") == USER
    assert code_of(forbidden) == (403, 403)
    assert code_of(unknown) == (401, 401)
    assert bearer.json() == ["guarded"]
    assert (missing.status_code, missing.json()["error_code"]) == (401, 401)
    assert missing.headers["Content-Type"] == "application/vnd.schemaregistry.v1+json"
