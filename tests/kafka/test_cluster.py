"""Real brokers do what tests of the product ask of them."""

import time
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from devservers.kafka import KafkaCluster
from tests.kafka.reading import read_all

pytestmark = [pytest.mark.kafka, pytest.mark.no_database]


def create_topic(cluster: KafkaCluster, name: str, partitions: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    admin.create_topics([NewTopic(name, partitions)])[name].result(30)


def producer(cluster: KafkaCluster, **properties: object) -> Producer:
    return Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 0, "log_level": 0, **properties})


def produce(cluster: KafkaCluster, topic: str, *values: bytes) -> None:
    """Produce to partition 0 and wait until it is stored; a failure is an error."""
    errors: list[KafkaError] = []
    sender = producer(cluster)
    for value in values:
        sender.produce(topic, value, partition=0, on_delivery=lambda error, _: error and errors.append(error))
    assert sender.flush(60) == 0
    assert errors == []


def values(cluster: KafkaCluster, topic: str, isolation: str = "read_committed") -> list[bytes | None]:
    return [record.value for record in read_all(cluster.bootstrap, topic, isolation)]


def new_leader(cluster: KafkaCluster, topic: str, old: int) -> int:
    deadline = time.monotonic() + 60
    while (leader := cluster.leader_of(topic, 0)) in (old, -1):
        assert time.monotonic() < deadline, f"{topic} stays with node {leader}"
        time.sleep(0.1)
    return leader


def test_it_works(kafka: KafkaCluster) -> None:
    create_topic(kafka, "works", 3)
    headers = [("a", b"1"), ("a", None)]
    sender = producer(kafka)
    sender.produce("works", b"v", b"k", partition=2, timestamp=1700000000000, headers=headers)
    sender.produce("works", None, None, partition=0, timestamp=1)
    assert sender.flush(30) == 0

    assert read_all(kafka.bootstrap, "works") == [
        (0, 0, 1, None, None, []),
        (2, 0, 1700000000000, b"k", b"v", headers),
    ]


def test_topics_are_not_created_by_themselves(kafka: KafkaCluster) -> None:
    error = producer(kafka).list_topics("unknown", timeout=30).topics["unknown"].error

    assert error is not None
    assert error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_readers_of_committed_records_see_no_others(kafka: KafkaCluster) -> None:
    create_topic(kafka, "payments")
    sender = producer(kafka, **{"transactional.id": "sender"})
    sender.init_transactions(30)
    sender.begin_transaction()
    sender.produce("payments", b"aborted")
    sender.flush(30)
    sender.abort_transaction(30)
    sender.begin_transaction()
    sender.produce("payments", b"committed")
    sender.commit_transaction(30)

    assert values(kafka, "payments") == [b"committed"]
    assert values(kafka, "payments", "read_uncommitted") == [b"aborted", b"committed"]


def test_a_restart_keeps_records(tmp_path: Path) -> None:
    cluster = KafkaCluster(tmp_path)
    try:
        cluster.start()
        create_topic(cluster, "kept")
        produce(cluster, "kept", b"1")
        cluster.stop(1)
        cluster.start(1)
        produce(cluster, "kept", b"2")
        cluster.kill(1)
        cluster.start(1)
        assert values(cluster, "kept") == [b"1", b"2"]
    finally:
        cluster.close()

    again = KafkaCluster(tmp_path)
    try:
        assert values(again.start(), "kept") == [b"1", b"2"]
    finally:
        again.close()


def test_two_of_three_brokers_go_on(kafka_trio: KafkaCluster) -> None:
    create_topic(kafka_trio, "survives")
    produce(kafka_trio, "survives", b"1")
    leader = kafka_trio.leader_of("survives", 0)
    kafka_trio.kill(leader)

    produce(kafka_trio, "survives", b"2")
    assert new_leader(kafka_trio, "survives", leader) != leader
    assert values(kafka_trio, "survives") == [b"1", b"2"]

    kafka_trio.start(leader)
    produce(kafka_trio, "survives", b"3")
    assert values(kafka_trio, "survives") == [b"1", b"2", b"3"]


def test_a_broker_that_hangs_loses_its_partitions(kafka_trio: KafkaCluster) -> None:
    create_topic(kafka_trio, "hangs")
    produce(kafka_trio, "hangs", b"1")
    leader = kafka_trio.leader_of("hangs", 0)
    kafka_trio.pause(leader)

    new_leader(kafka_trio, "hangs", leader)
    produce(kafka_trio, "hangs", b"2")
    assert values(kafka_trio, "hangs") == [b"1", b"2"]
