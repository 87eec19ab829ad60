"""Read back what a topic holds, by a plain consumer that knows nothing of this product."""

import time
from contextlib import closing
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec


class Read(NamedTuple):
    """A record as it is stored; `timestamp` is in milliseconds since 1970."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def wait_until_decided(bootstrap: str, topic: str) -> None:
    """Wait until every transaction shows: a commit is answered before its markers are in the partitions."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    places = [TopicPartition(topic, number) for number in admin.list_topics(topic, timeout=30).topics[topic].partitions]
    deadline = time.monotonic() + 60
    while True:
        ends = [
            [
                future.result().offset
                for future in admin.list_offsets(
                    dict.fromkeys(places, OffsetSpec.latest()), isolation_level=isolation, request_timeout=30
                ).values()
            ]
            for isolation in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)
        ]
        if ends[0] == ends[1]:
            return
        assert time.monotonic() < deadline, f"a transaction in {topic} stays open"
        time.sleep(0.05)


def read_all(bootstrap: str, topic: str, isolation: str = "read_committed") -> list[Read]:
    """Every record up to the end of each partition, in order of partition and offset."""
    if isolation == "read_committed":
        wait_until_decided(bootstrap, topic)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "tests",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
            "isolation.level": isolation,
        }
    )
    with closing(consumer):
        unread = set(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in unread])
        records = []
        while unread:
            message = consumer.poll(30)
            assert message is not None, f"no end of {topic} {unread}"
            error = message.error()
            if error is None:
                timestamp = message.timestamp()[1]
                place = message.partition(), message.offset()
                records.append(Read(*place, timestamp, message.key(), message.value(), message.headers() or []))
            elif error.code() == KafkaError._PARTITION_EOF:
                unread.discard(message.partition())
            else:
                raise KafkaException(error)
    return sorted(records, key=lambda record: record[:2])
