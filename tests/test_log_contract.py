"""What every log backend promises, tried on each."""

from typing import Any

import pytest

from topics.backends.base import Log
from topics.backends.embedded import EmbeddedLog
from topics.backends.memory import MemoryLog
from topics.errors import InvalidTopic, TopicExists, TopicNotFound, UnknownPartition
from topics.records import PartitionInfo, Record, RecordMetadata, TopicConfig, Write


@pytest.fixture(params=[MemoryLog, EmbeddedLog])
def log(request: pytest.FixtureRequest) -> Log:
    made: Log = request.param()
    made.create_topic("orders", 3)
    return made


def record(value: bytes | None, **members: Any) -> Record:
    return Record(**{"key": None, "value": value, "timestamp": 1704545600123, **members})


def test_it_works(log: Log) -> None:
    results = log.append("orders", [Write(1, [record(b"a"), record(b"b")])])

    assert results == [[RecordMetadata(1, 0, 1704545600123), RecordMetadata(1, 1, 1704545600123)]]
    assert [found.value for found in log.read("orders", 1, 0, 10)] == [b"a", b"b"]


def test_a_record_comes_back_as_it_went_in(log: Log) -> None:
    went_in = Record(b"\x00\xff", b"", 0, [("a", b"1"), ("", None), ("a", b"")])
    log.append("orders", [Write(0, [went_in, Record(None, None, 2**63 - 1, [])], "zstd")])

    first, second = log.read("orders", 0, None, 10)

    assert (first.key, first.value, first.timestamp, first.headers) == (
        b"\x00\xff",
        b"",
        0,
        [("a", b"1"), ("", None), ("a", b"")],
    )
    assert (second.key, second.value, second.timestamp, second.headers) == (None, None, 2**63 - 1, [])


def test_several_writes_answer_in_their_own_order(log: Log) -> None:
    results = log.append("orders", [Write(2, [record(b"a")]), Write(0, [record(b"b"), record(b"c")])])

    assert [[metadata.partition for metadata in write] for write in results] == [[2], [0, 0]]


def test_append_is_all_or_nothing(log: Log) -> None:
    with pytest.raises(UnknownPartition):
        log.append("orders", [Write(0, [record(b"a")]), Write(3, [record(b"b")])])

    assert log.read("orders", 0, 0, 10) == []


def test_also_gets_the_results(log: Log) -> None:
    seen: list[Any] = []

    results = log.append("orders", [Write(0, [record(b"a")])], seen.append)

    assert seen == [results]


def test_what_also_raises_undoes_the_append_where_there_are_transactions(log: Log) -> None:
    def refuse(results: Any) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        log.append("orders", [Write(0, [record(b"a")])], refuse)

    assert len(log.read("orders", 0, 0, 10)) == (0 if log.supports_transactions else 1)


def test_unknown_topic(log: Log) -> None:
    with pytest.raises(TopicNotFound):
        log.append("nowhere", [Write(0, [record(b"a")])])
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
    log.append("orders", [Write(0, [record(b"%d" % number) for number in range(3)])])
    log.append("orders", [Write(0, [record(b"%d" % number) for number in range(3, 5)])])

    found = log.read("orders", 0, offset, limit)

    assert [stored.offset for stored in found] == expected
    assert [stored.value for stored in found] == [b"%d" % number for number in expected]


def test_a_read_is_bounded_in_bytes_and_still_goes_on(log: Log) -> None:
    for _ in range(4):
        log.append("orders", [Write(0, [record(b"x" * 3_000_000)])])

    first = log.read("orders", 0, 0, 100)

    assert 1 <= len(first) < 4
    assert log.read("orders", 0, len(first), 100)[0].offset == len(first)


def test_one_record_over_the_bound_is_still_read(log: Log) -> None:
    log.append("orders", [Write(0, [record(b"x" * 9_000_000), record(b"y")])])

    assert [stored.offset for stored in log.read("orders", 0, 0, 100)] == [0]
    assert [stored.value for stored in log.read("orders", 0, 1, 100)] == [b"y"]


def test_topics(log: Log) -> None:
    log.create_topic("archive", 1, TopicConfig(1000, 2000, False))
    log.append("orders", [Write(1, [record(b"a")])])

    archive, orders = log.topics()

    assert (archive.name, archive.config) == ("archive", TopicConfig(1000, 2000, False))
    assert orders.partitions == [PartitionInfo(0, 0, 0), PartitionInfo(1, 0, 1), PartitionInfo(2, 0, 0)]
    assert log.partition_count("orders") == 3
    assert log.configure_topic("orders", TopicConfig(retention_ms=5)).config.retention_ms == 5


def test_a_topic_exists_once(log: Log) -> None:
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


def test_a_topic_made_again_starts_anew(log: Log) -> None:
    log.append("orders", [Write(0, [record(b"old")])])
    log.delete_topic("orders")
    log.create_topic("orders", 1)

    results = log.append("orders", [Write(0, [record(b"new")])])

    assert results[0][0].offset == 0
    assert [stored.value for stored in log.read("orders", 0, 0, 10)] == [b"new"]


def test_a_topic_made_again_elsewhere_is_noticed_at_the_append(api: Any) -> None:
    """Another process deleted and made the topic again while this one had its partitions cached."""
    here, elsewhere = EmbeddedLog(), EmbeddedLog()
    here.create_topic("orders", 2)
    here.append("orders", [Write(1, [record(b"a")])])
    elsewhere.delete_topic("orders")
    elsewhere.create_topic("orders", 2)

    assert here.append("orders", [Write(1, [record(b"b")])])[0][0].offset == 0
    elsewhere.delete_topic("orders")
    with pytest.raises(TopicNotFound):
        here.append("orders", [Write(1, [record(b"c")])])


def test_check(log: Log) -> None:
    log.check()
