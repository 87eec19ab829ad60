"""Topics on a real cluster have what Kafka users expect: replicas, configs, and records that a broker would reject."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from devservers.kafka import KafkaCluster
from devservers.takhin import LiveServer
from producer.queue.threads import new_worker
from tests.conftest import Api
from tests.kafka.reading import read_all
from tests.test_kafka import KAFKA, until
from tests.test_topics import offsets, patch
from topics import log
from topics.log.kafka import topic_limits
from topics.log.kafka.reader import Reader

pytestmark = pytest.mark.kafka


@pytest.fixture
def cluster(kafka: KafkaCluster, settings: Any) -> Iterator[KafkaCluster]:
    settings.KAFKA = {"bootstrap.servers": kafka.bootstrap}
    settings.TOPIC_LOG, settings.TAKHIN_LOG = KAFKA, "kafka"
    yield kafka
    log.forget()


def codes(answer: Any) -> list[str | None]:
    return [outcome.get("code") for outcome in answer.json()["offsets"]]


def test_configs_are_set_shown_and_reset(cluster: KafkaCluster, api: Api) -> None:
    configs = {"cleanup.policy": "compact", "max.message.bytes": 2000, "min.cleanable.dirty.ratio": 0.25}
    created = api.post(
        "/api/topics",
        {"name": "configured", "partitions": 2, "replicationFactor": 1, "retentionMs": 5000, "configs": configs},
    )
    assert created.status_code == 201, created.content
    shown = created.json()
    assert shown["configs"] == {
        "cleanup.policy": "compact",
        "max.message.bytes": "2000",
        "min.cleanable.dirty.ratio": "0.25",
    }
    assert (shown["replicationFactor"], shown["retentionMs"]) == (1, 5000)
    assert [(one["leader"], one["replicas"], one["inSyncReplicas"]) for one in shown["partitions"]] == [
        (1, [1], [1])
    ] * 2

    changed = patch(api, "configured", '{"configs":{"cleanup.policy":null,"flush.messages":7},"partitions":3}').json()
    assert changed["configs"] == {
        "flush.messages": "7",
        "max.message.bytes": "2000",
        "min.cleanable.dirty.ratio": "0.25",
    }
    assert (changed["partitionCount"], changed["retentionMs"]) == (3, 5000)
    assert patch(api, "configured", '{"retentionMs":6000}').json()["configs"] == changed["configs"]
    assert api.produce("configured", [{"partition": 2, "value": 1}]).status_code == 200

    for body in ('{"configs":{"no.such":"1"}}', '{"configs":{"flush.messages":"x"}}', '{"partitions":1}'):
        refused = patch(api, "configured", body)
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_topic"), refused.content
    too_many = api.post("/api/topics", {"name": "copied", "replicationFactor": 3})
    assert (too_many.status_code, too_many.json()["code"]) == (400, "invalid_topic")


def test_the_cluster_is_described(cluster: KafkaCluster, api: Api) -> None:
    found = api.get("/api/cluster").json()

    host, port = cluster.bootstrap.split(":")
    assert (found["log"], found["brokers"]) == ("kafka", [{"id": 1, "host": host, "port": int(port)}])
    assert found["controller"] == 1
    assert found["clusterId"]
    assert {"takhin", "librdkafka"} <= found["versions"].keys()


@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_broker_would_reject_is_rejected_before_anything_is_sent(
    cluster: KafkaCluster, api: Api, is_async: bool
) -> None:
    topic = f"limited-{is_async}".lower()
    configs = {
        "cleanup.policy": "compact,delete",
        "max.message.bytes": 3000,
        "message.timestamp.before.max.ms": 3600_000,
    }
    api.create_topic(topic, 1, configs=configs)
    records = [
        {"key": "k", "value": "fine"},
        {"value": "no key"},
        {"key": "k", "value": "x" * 4000},
        {"key": "k", "value": "old", "timestamp": 1000},
        {"key": "k", "value": "from the future", "timestamp": int(time.time() * 1000) + 90 * 60_000},
    ]
    expected = ["invalid_record", "msg_size_too_large", "invalid_timestamp", "invalid_timestamp"]

    def produce(**parameters: str) -> Any:
        if not is_async:
            return api.produce(topic, records, **parameters)
        request_id = api.produce(topic, records, async_="true", **parameters).json()["requestId"]
        worker = new_worker()

        def finished() -> Any:
            worker.work_once()
            return api.get(f"/api/produce/status/{request_id}").json()["status"] != "pending"

        until(finished, "it stays pending")
        worker._release_held()
        return api.get(f"/api/produce/status/{request_id}")

    assert codes(produce(strict="true")) == ["not_attempted", *expected]
    assert read_all(cluster.bootstrap, topic) == []
    answer = produce()
    assert codes(answer) == [None, *expected]
    reasons = [outcome.get("error", "") for outcome in answer.json()["offsets"]]
    assert "it has no key, and the topic is compacted" in reasons[1]
    assert "max.message.bytes is 3000" in reasons[2]
    assert "message.timestamp.before.max.ms" in reasons[3]
    assert "message.timestamp.after.max.ms" in reasons[4]
    assert [record.value for record in read_all(cluster.bootstrap, topic)] == [b'"fine"']


def test_a_large_record_that_compresses_well_is_written(cluster: KafkaCluster, api: Api) -> None:
    api.create_topic("compressible", 1, configs={"max.message.bytes": 3000})
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        answer = api.produce("compressible", [{"value": "x" * 20_000}], compression=codec)
        assert answer.status_code == 200, (codec, answer.content)
    assert codes(api.produce("compressible", [{"value": "x" * 20_000}])) == ["msg_size_too_large"]


@pytest.mark.parametrize(("size", "count", "offset", "expected"), [(100_000, 300, -100, 200), (1_000_000, 14, -12, 2)])
def test_a_negative_offset_is_counted_whatever_the_size(
    cluster: KafkaCluster, api: Api, size: int, count: int, offset: int, expected: int
) -> None:
    topic = api.create_topic(f"large-{count}", 1)
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "message.max.bytes": 2_000_000, "log_level": 0})
    for _ in range(count):
        producer.produce(topic, b"x" * (size - 100), partition=0)
    assert producer.flush(60) == 0

    found = api.messages(topic, partition=0, offset=offset, limit=5)

    assert offsets(found) == list(range(expected, expected + 5))


def test_a_negative_offset_is_counted_in_records_where_transactions_leave_gaps(cluster: KafkaCluster, api: Api) -> None:
    topic = api.create_topic("gaps", 1)
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "transactional.id": "gaps", "log_level": 0})
    producer.init_transactions(30)
    for number in range(20):
        producer.begin_transaction()
        producer.produce(topic, b"%d" % number, partition=0)
        producer.flush(30)
        (producer.abort_transaction if number % 3 == 0 else producer.commit_transaction)(30)

    committed = [str(number) for number in range(20) if number % 3]
    for back in (1, 5, 13, 20):
        found = api.messages(topic, partition=0, offset=-back, limit=3)
        assert [one["value"] for one in found] == committed[-back:][:3], back


def test_counting_back_over_a_long_gap_takes_few_steps(
    cluster: KafkaCluster, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = api.create_topic("aborted", 1)
    assert api.produce(topic, [{"value": number} for number in range(3)]).status_code == 200
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "transactional.id": "aborted", "log_level": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    for _ in range(3000):
        producer.produce(topic, b"aborted", partition=0)
    producer.flush(30)
    producer.abort_transaction(30)
    used: list[Reader] = []
    consumer = Reader._consumer

    def counted(reader: Reader) -> Any:
        used.append(reader)
        return consumer(reader)

    monkeypatch.setattr(Reader, "_consumer", counted)

    assert [one["value"] for one in api.messages(topic, partition=0, offset=-2)] == ["1", "2"]
    assert len(used) < 10


def test_limits_are_read_again_although_a_topic_was_deleted_by_others(
    cluster: KafkaCluster, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_limits, "FRESH_SECONDS", 0.5)
    for topic in ("changed-by-others", "deleted-by-others"):
        api.create_topic(topic, 1)
        assert api.produce(topic, [{"value": 1}]).status_code == 200
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    admin.delete_topics(["deleted-by-others"])["deleted-by-others"].result(30)
    compacted = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, "changed-by-others", incremental_configs=[compacted])
    admin.incremental_alter_configs([resource])[resource].result(30)

    def is_noticed() -> Any:
        (outcome,) = api.produce("changed-by-others", [{"value": 1}]).json()["offsets"]
        return "it has no key, and the topic is compacted" in outcome.get("error", "")

    until(is_noticed, "the change is not noticed")


def test_reading_starts_at_a_time(cluster: KafkaCluster, api: Api) -> None:
    topic = api.create_topic("timed", 1)
    for timestamp in (1000, 3000, 2000):
        assert api.produce(topic, [{"value": 1, "timestamp": timestamp}]).status_code == 200

    def found(timestamp: int) -> list[int]:
        return offsets(api.messages(topic, partition=0, timestamp=timestamp))

    assert [found(timestamp) for timestamp in (0, 1000, 1001, 3000, 3001)] == [[0, 1, 2], [0, 1, 2], [1, 2], [1, 2], []]


def test_a_topic_made_elsewhere_may_be_retried(cluster: KafkaCluster, api: Api) -> None:
    answer = api.produce("not-yet", [{"value": 1}])

    assert (answer.status_code, answer.json()["code"], answer.json()["retriable"]) == (404, "topic_not_found", True)
    assert answer["Retry-After"] == "1"
    until(lambda: not api.produce("not-yet", [{"value": 1}]).json()["retriable"], "it stays retriable")
    assert "Retry-After" not in api.produce("not-yet", [{"value": 1}])


@pytest.mark.no_database
def test_a_server_that_starts_while_the_cluster_is_away_accepts_async_requests(tmp_path: Any) -> None:
    cluster = KafkaCluster(tmp_path / "kafka")
    server = LiveServer(tmp_path / "data", TAKHIN_LOG="kafka", KAFKA_BOOTSTRAP_SERVERS=cluster.bootstrap)
    try:
        cluster.start()
        server.start()
        server.create_topic("kept", 2)
        assert server.produce("kept", [{"value": 1}]).status_code == 200
        server.stop()
        cluster.kill(1)
        server.start()

        accepted = server.produce("kept", [{"value": 2}], **{"async": "true"})
        assert accepted.status_code == 202, accepted.text
        refused = server.produce("kept", [{"value": 3}])
        assert (refused.status_code, refused.json()["code"]) == (503, "no_record_written")
        unknown = server.produce("unknown", [{"value": 3}])
        assert (unknown.status_code, unknown.json()["retriable"]) == (503, True)

        cluster.start(1)
        address = f"{server.url}/api/produce/status/{accepted.json()['requestId']}"
        until(lambda: server.http.get(f"{address}?wait=10").json()["status"] == "completed", "it stays pending")
        values = sorted(record.value or b"" for record in read_all(cluster.bootstrap, "kept"))
        assert values == [b"1", b"2"]
    finally:
        server.stop()
        cluster.close()


def test_replicas_in_trouble_are_shown(kafka_trio: KafkaCluster, settings: Any, api: Api, admin_client: Any) -> None:
    settings.KAFKA = {"bootstrap.servers": kafka_trio.bootstrap}
    settings.TOPIC_LOG = KAFKA
    created = api.post("/api/topics", {"name": "watched", "partitions": 1, "configs": {"min.insync.replicas": 3}})
    assert created.json()["replicationFactor"] == 3
    (shown,) = created.json()["partitions"]
    assert sorted(shown["replicas"]) == sorted(shown["inSyncReplicas"]) == [1, 2, 3]

    kafka_trio.kill(2)

    def partition() -> Any:
        return api.get("/api/topics/watched").json()["partitions"][0]

    until(lambda: sorted(partition()["inSyncReplicas"]) == [1, 3], "the loss of a replica is not shown")
    assert sorted(partition()["replicas"]) == [1, 2, 3]
    page = admin_client.get("/admin/topics/topic/watched/change/").content.decode()
    assert "<strong>below minimum</strong>" in page
    assert "<dt>min.insync.replicas</dt><dd>3</dd>" in page
    assert kafka_trio.nodes[1].address in page
    assert "1 below minimum" in admin_client.get("/admin/topics/topic/").content.decode()
    log.forget()
