"""What every log backend promises, tried on each."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from devservers.mock_kafka import MockCluster
from topics.log.compression import CODECS
from topics.log.contract import Log
from topics.log.embedded.log import EmbeddedLog
from topics.log.errors import InvalidTopic, TopicExists, TopicNotFound, UnknownPartition
from topics.log.kafka.log import KafkaLog
from topics.log.memory import MemoryLog
from topics.log.records import Record, TopicConfig, Write

NOW = 1704545600123
REAL_KAFKA = pytest.param("kafka", marks=pytest.mark.kafka)


@pytest.fixture
def mock_log(settings: Any) -> Iterator[Log]:
    """A log on librdkafka's mock cluster, which has no administration and so already has its topic."""
    with MockCluster() as cluster:
        cluster.create_topic("orders", 3)
        settings.KAFKA = {"bootstrap.servers": cluster.bootstrap}
        made = KafkaLog()
        yield made
        made.close()


@pytest.fixture
def kafka_log(kafka: Any, settings: Any) -> Iterator[Log]:
    settings.KAFKA = {"bootstrap.servers": kafka.bootstrap}
    made = KafkaLog()
    made.create_topic("orders", 3)
    yield made
    for topic in made.topics():
        made.delete_topic(topic.name)
    made.close()


def embedded_log() -> Log:
    made = EmbeddedLog()
    made.create_topic("orders", 3)
    return made


def memory_log() -> Log:
    made = MemoryLog()
    made.create_topic("orders", 3)
    return made


HERE = {"memory": memory_log, "embedded": embedded_log}


@pytest.fixture(params=["memory", "embedded", "mock", REAL_KAFKA])
def log(request: pytest.FixtureRequest) -> Log:
    """Any log, with the topic orders of three partitions."""
    made: Log = HERE[request.param]() if request.param in HERE else request.getfixturevalue(f"{request.param}_log")
    return made


@pytest.fixture(params=["memory", "embedded", REAL_KAFKA])
def managed(request: pytest.FixtureRequest) -> Log:
    """Any log whose topics can be made and deleted, which the mock cluster's cannot."""
    made: Log = HERE[request.param]() if request.param in HERE else request.getfixturevalue(f"{request.param}_log")
    return made


def record(value: bytes | None, **members: Any) -> Record:
    return Record(**{"key": None, "value": value, "timestamp": NOW, **members})


def places(results: Any) -> list[list[tuple[int, int]]]:
    return [[(metadata.partition, metadata.offset) for metadata in write] for write in results]


def test_it_works(log: Log) -> None:
    results = log.append([Write("orders", 1, [record(b"a"), record(b"b")])])

    assert places(results) == [[(1, 0), (1, 1)]]
    assert [found.value for found in log.read("orders", 1, 0, 10)] == [b"a", b"b"]


def test_the_answer_has_the_timestamps_that_are_stored(managed: Log) -> None:
    (results,) = managed.append([Write("orders", 1, [record(b"a"), record(b"b", timestamp=NOW + 1)])])

    assert [metadata.timestamp for metadata in results] == [NOW, NOW + 1]  # type: ignore[union-attr]
    assert [found.timestamp for found in managed.read("orders", 1, 0, 10)] == [NOW, NOW + 1]


@pytest.mark.parametrize("codec", CODECS)
def test_a_record_comes_back_as_it_went_in(log: Log, codec: str) -> None:
    went_in = Record(b"\x00\xff", b"", 1, [("a", b"1"), ("", None), ("a", b""), ("\U0001f600", b"\x00")])
    log.append([Write("orders", 0, [went_in, Record(b"", None, NOW, []), record(b"x" * 5000)], codec)])

    first, second, third = log.read("orders", 0, None, 10)

    assert (first.key, first.value, first.timestamp, first.headers) == (b"\x00\xff", b"", 1, went_in.headers)
    assert (second.key, second.value, second.timestamp, second.headers) == (b"", None, NOW, [])
    assert (third.key, third.value) == (None, b"x" * 5000)


@pytest.mark.parametrize("kind", [memory_log, embedded_log])
def test_any_timestamp_is_kept_here(kind: Any) -> None:
    log = kind()
    log.append([Write("orders", 0, [record(b"a", timestamp=0), record(b"b", timestamp=2**63 - 1)])])

    assert [found.timestamp for found in log.read("orders", 0, None, 10)] == [0, 2**63 - 1]


def test_several_writes_answer_in_their_own_order(log: Log) -> None:
    results = log.append([Write("orders", 2, [record(b"a")]), Write("orders", 0, [record(b"b"), record(b"c")])])

    assert [[metadata.partition for metadata in write] for write in results] == [[2], [0, 0]]


def test_append_is_all_or_nothing(log: Log) -> None:
    with pytest.raises(UnknownPartition):
        log.append([Write("orders", 0, [record(b"a")]), Write("orders", 3, [record(b"b")])])

    assert log.read("orders", 0, 0, 10) == []


def test_append_returns_what_its_bookkeeping_returns(log: Log) -> None:
    def count(results: Any) -> tuple[bool, int]:
        return connection.in_atomic_block, len(results[0])

    assert log.append([Write("orders", 0, [record(b"a"), record(b"b")])], count) == (True, 2)


def test_what_the_bookkeeping_raises_undoes_the_append_where_there_are_transactions(log: Log) -> None:
    def refuse(results: Any) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        log.append([Write("orders", 0, [record(b"a")])], refuse)

    assert len(log.read("orders", 0, 0, 10)) == (0 if log.supports_transactions else 1)


def test_unknown_topic(log: Log) -> None:
    with pytest.raises(TopicNotFound):
        log.append([Write("nowhere", 0, [record(b"a")])])
    for call in (log.topic, log.partition_count, log.delete_topic):
        with pytest.raises(TopicNotFound):
            call("nowhere")
    with pytest.raises(TopicNotFound):
        log.read("nowhere", 0, 0, 1)
    with pytest.raises(TopicNotFound):
        log.configure_topic("nowhere", TopicConfig(retention_ms=1))


@pytest.mark.parametrize(
    ("offset", "limit", "expected"),
    [
        (None, 100, [0, 1, 2, 3, 4]),
        (0, 2, [0, 1]),
        (2, 2, [2, 3]),
        (4, 100, [4]),
        (5, 100, []),
        (99, 100, []),
        (-1, 100, [4]),
        (-2, 1, [3]),
        (-99, 100, [0, 1, 2, 3, 4]),
    ],
)
def test_read(log: Log, offset: int | None, limit: int, expected: list[int]) -> None:
    log.append([Write("orders", 0, [record(b"%d" % number) for number in range(3)])])
    log.append([Write("orders", 0, [record(b"%d" % number) for number in range(3, 5)])])

    found = log.read("orders", 0, offset, limit)

    assert [stored.offset for stored in found] == expected
    assert [stored.value for stored in found] == [b"%d" % number for number in expected]


def test_a_read_is_bounded_in_bytes_and_still_goes_on(managed: Log) -> None:
    log = managed
    for _ in range(12):
        log.append([Write("orders", 0, [record(b"x" * 900_000)])])

    first = log.read("orders", 0, 0, 100)

    assert 1 <= len(first) < 12
    assert log.read("orders", 0, len(first), 100)[0].offset == len(first)


@pytest.mark.parametrize("kind", [memory_log, embedded_log])
def test_one_record_over_the_bound_is_still_read(kind: Any) -> None:
    log = kind()
    log.append([Write("orders", 0, [record(b"x" * 9_000_000), record(b"y")])])

    assert [stored.offset for stored in log.read("orders", 0, 0, 100)] == [0]
    assert [stored.value for stored in log.read("orders", 0, 1, 100)] == [b"y"]


def test_an_offset_is_found_by_time(managed: Log) -> None:
    for timestamp in (1000, 3000, 2000, 4000):
        managed.append(
            [Write("orders", 1, [record(b"a", timestamp=timestamp), record(b"b", timestamp=timestamp + 10)])]
        )

    found = [managed.offset_at("orders", 1, timestamp) for timestamp in (0, 1000, 1001, 1011, 3005, 4010, 4011)]
    assert found == [0, 0, 1, 2, 3, 7, None]
    assert managed.offset_at("orders", 0, 0) is None
    with pytest.raises(UnknownPartition):
        managed.offset_at("orders", 9, 0)
    with pytest.raises(TopicNotFound):
        managed.offset_at("nowhere", 0, 0)


def test_partitions_are_added(managed: Log) -> None:
    managed.append([Write("orders", 0, [record(b"a")])])

    assert [one.high_watermark for one in managed.add_partitions("orders", 5).partitions] == [1, 0, 0, 0, 0]
    managed.append([Write("orders", 4, [record(b"b")])])
    assert [found.value for found in managed.read("orders", 4, None, 10)] == [b"b"]
    assert len(managed.add_partitions("orders", 5).partitions) == 5
    for wrong in (4, 0, 1001):
        with pytest.raises(InvalidTopic):
            managed.add_partitions("orders", wrong)
    with pytest.raises(TopicNotFound):
        managed.add_partitions("nowhere", 2)


def test_topics(managed: Log) -> None:
    log = managed
    log.create_topic("archive", 1, TopicConfig(1000, 2000))
    log.append([Write("orders", 1, [record(b"a")])])

    archive, orders = log.topics()

    assert (archive.name, archive.config) == ("archive", TopicConfig(1000, 2000))
    bounds = [(one.id, one.first_offset, one.high_watermark) for one in orders.partitions]
    assert bounds == [(0, 0, 0), (1, 0, 1), (2, 0, 0)]
    assert all(len(one.replicas) == len(one.in_sync_replicas) == 1 for one in orders.partitions)
    assert log.partition_count("orders") == 3
    assert log.configure_topic("orders", TopicConfig(retention_ms=5)).config == TopicConfig(retention_ms=5)
    assert log.topic("orders").config == TopicConfig(retention_ms=5)


def test_some_topics_are_described_alone(managed: Log) -> None:
    log = managed
    log.create_topic("archive", 1)
    log.create_topic("zoo", 1)

    assert log.topic_names() == ["archive", "orders", "zoo"]
    assert [topic.name for topic in log.topics(["zoo", "nowhere", "archive"])] == ["archive", "zoo"]
    assert log.topics([]) == []


def test_a_topic_exists_once(managed: Log) -> None:
    log = managed
    with pytest.raises(TopicExists):
        log.create_topic("orders", 1)
    assert log.partition_count("orders") == 3


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "ä", "a/b", "x" * 250])
def test_a_name_kafka_would_refuse(log: Log, name: str) -> None:
    with pytest.raises(InvalidTopic):
        log.create_topic(name, 1)


@pytest.mark.parametrize("partitions", [0, -1, 1001])
def test_a_number_of_partitions_that_is_refused(log: Log, partitions: int) -> None:
    with pytest.raises(InvalidTopic):
        log.create_topic("fresh", partitions)


def test_a_topic_made_again_starts_anew(managed: Log) -> None:
    log = managed
    log.append([Write("orders", 0, [record(b"old")])])
    log.delete_topic("orders")
    log.create_topic("orders", 1)

    results = log.append([Write("orders", 0, [record(b"new")])])

    assert results[0][0].offset == 0
    assert [stored.value for stored in log.read("orders", 0, 0, 10)] == [b"new"]


def test_a_topic_made_again_elsewhere_is_noticed_at_the_append(api: Any) -> None:
    """Another process deleted and made the topic again while this one had its partitions cached."""
    here, elsewhere = EmbeddedLog(), EmbeddedLog()
    here.create_topic("orders", 2)
    here.append([Write("orders", 1, [record(b"a")])])
    elsewhere.delete_topic("orders")
    elsewhere.create_topic("orders", 2)

    assert here.append([Write("orders", 1, [record(b"b")])])[0][0].offset == 0
    elsewhere.delete_topic("orders")
    with pytest.raises(TopicNotFound):
        here.append([Write("orders", 1, [record(b"c")])])


def test_check(log: Log) -> None:
    log.check()
