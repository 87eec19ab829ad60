"""Avro through the registry inside, on a real Kafka cluster, as a plain consumer of Confluent's reads it."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from devservers.kafka import KafkaCluster
from devservers.takhin import LiveServer

pytestmark = [pytest.mark.no_database, pytest.mark.kafka]

KEY = '"long"'
VALUE = json.dumps(
    {
        "type": "record",
        "name": "Order",
        "namespace": "com.acme",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "note", "type": ["null", "string"], "default": None},
            {"name": "tags", "type": {"type": "array", "items": "string"}},
        ],
    }
)


@pytest.fixture
def server(kafka: KafkaCluster, tmp_path: Path) -> Iterator[LiveServer]:
    made = LiveServer(tmp_path / "data", TAKHIN_LOG="kafka", KAFKA_BOOTSTRAP_SERVERS=kafka.bootstrap).start()
    yield made
    made.stop()


def consumed(
    kafka: KafkaCluster, registry: SchemaRegistryClient, topic: str, places: list[Any]
) -> list[tuple[Any, Any]]:
    """Key and value of the records at these places, deserialized."""
    keys, values = AvroDeserializer(registry), AvroDeserializer(registry)
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "avro", "auto.offset.reset": "earliest"})
    found = []
    with closing(consumer):
        for place in places:
            consumer.assign([TopicPartition(topic, place["partition"], place["offset"])])
            message = consumer.poll(30)
            assert message is not None
            assert message.error() is None, message.error()
            key = keys(message.key(), SerializationContext(topic, MessageField.KEY))
            found.append((key, values(message.value(), SerializationContext(topic, MessageField.VALUE))))
    return found


@pytest.mark.parametrize("is_async", ["false", "true"])
def test_it_works(kafka: KafkaCluster, server: LiveServer, is_async: str) -> None:
    topic = f"avro-{is_async}"
    server.create_topic(topic)
    records = [
        {"key": 2**53 + 1, "value": {"id": -1, "note": None, "tags": []}},
        {"key": 7, "value": {"id": 2**63 - 1, "note": "naïve", "tags": ["a", ""]}},
        {"key": 8, "value": None},
    ]
    formats = {"key.format": "avro", "value.format": "avro", "async": is_async}
    with SchemaRegistryClient({"url": f"{server.url}/registry"}) as registry:
        registry.register_schema(f"{topic}-key", Schema(KEY, "AVRO"))
        registry.register_schema(f"{topic}-value", Schema(VALUE, "AVRO"))
        answer = server.produce(topic, [*records, {"key": "x", "value": None}], **formats).json()
        if is_async == "true":
            url = f"{server.url}/api/produce/status/{answer['requestId']}?wait=30"
            answer = server.http.get(url, timeout=60).json()
        *places, refused = answer["offsets"]

        assert refused["code"] == "serialization_failed"
        found = consumed(kafka, registry, topic, places)
    assert found == [(record["key"], record["value"]) for record in records]


def test_a_topic_may_forbid_to_register(server: LiveServer) -> None:
    url = f"{server.url}/api/topics"
    created = server.http.post(url, json={"name": "closed", "partitions": 1, "registersSchemas": False}, timeout=30)
    body = {"valueSchema": "string", "records": [{"value": "a"}]}

    refused = server.http.post(f"{url}/closed/produce?value.format=avro", json=body, timeout=30)
    before = server.http.get(f"{url}/closed", timeout=30).json()
    changed = server.http.patch(f"{url}/closed", json={"registersSchemas": True}, timeout=30).json()
    accepted = server.http.post(f"{url}/closed/produce?value.format=avro", json=body, timeout=30)

    assert created.status_code == 201
    assert (created.json()["registersSchemas"], refused.json()["code"]) == (False, "registration_forbidden")
    assert accepted.status_code == 200
    assert changed | {"registersSchemas": False} == before
