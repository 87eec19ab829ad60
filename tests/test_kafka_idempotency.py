"""On a real Kafka cluster, a worker writes a sync request with an Idempotency-Key."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from devservers.kafka import KafkaCluster
from devservers.takhin import LiveServer
from tests.kafka.reading import read_all

pytestmark = [pytest.mark.no_database, pytest.mark.kafka]

Start = Callable[..., LiveServer]


@pytest.fixture
def start(kafka: KafkaCluster, tmp_path: Path) -> Iterator[Start]:
    started: list[LiveServer] = []

    def start(**variables: str) -> LiveServer:
        server = LiveServer(
            tmp_path / f"data-{len(started)}", TAKHIN_LOG="kafka", KAFKA_BOOTSTRAP_SERVERS=kafka.bootstrap, **variables
        )
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.stop()


def send(server: LiveServer, topic: str, key: str, values: list[str], **parameters: str) -> requests.Response:
    return requests.post(
        f"{server.url}/api/topics/{topic}/produce",
        json={"records": [{"key": value, "value": value} for value in values]},
        headers={"Idempotency-Key": key},
        params={"value.format": "string", **parameters},
        timeout=30,
    )


def test_a_retry_returns_the_same_offsets(kafka: KafkaCluster, start: Start) -> None:
    server = start()
    server.create_topic("keyed", 3)

    first, again = (send(server, "keyed", "k-1", ["a", "b", "c"]) for _ in range(2))

    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert send(server, "keyed", "k-1", ["other"]).json()["code"] == "idempotency_key_reused"
    places = {(record.partition, record.offset): record.value for record in read_all(kafka.bootstrap, "keyed")}
    found = [places[entry["partition"], entry["offset"]] for entry in first.json()["offsets"]]
    assert found == [b"a", b"b", b"c"]
    assert len(places) == 3
    # The response has the id of the request that it is about.
    request_id = f"req_{first.headers['X-Request-Id']}"
    assert server.http.get(f"{server.url}/api/produce/status/{request_id}").json()["offsets"] == first.json()["offsets"]


def test_what_cannot_be_written_leaves_the_key_free(kafka: KafkaCluster, start: Start) -> None:
    server = start()
    server.create_topic("keyed-free", 1)

    refused = send(server, "keyed-free", "k-1", ["?"], **{"value.format": "binary"})
    accepted = send(server, "keyed-free", "k-1", ["fine"])

    assert refused.status_code == 422
    assert accepted.status_code == 200
    assert [record.value for record in read_all(kafka.bootstrap, "keyed-free")] == [b"fine"]


def test_without_a_worker_nothing_is_written(kafka: KafkaCluster, start: Start) -> None:
    server = start(TAKHIN_WORKERS="0")
    server.create_topic("keyed-idle", 1)

    answer = send(server, "keyed-idle", "k-1", ["a"], timeout="500")

    assert answer.status_code == 503
    assert answer.json()["retriable"] is True
    assert "nothing was written" in answer.json()["detail"]
    # The key is free: another request may use it.
    assert send(server, "keyed-idle", "k-1", ["b"], timeout="500").status_code == 503
    assert read_all(kafka.bootstrap, "keyed-idle") == []
