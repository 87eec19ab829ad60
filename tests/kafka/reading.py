"""Read back what a topic holds, by a plain consumer that knows nothing of this product."""

from contextlib import closing
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition


class Read(NamedTuple):
    """A record as it is stored; `timestamp` is in milliseconds since 1970."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def read_all(bootstrap: str, topic: str, isolation: str = "read_committed") -> list[Read]:
    """Every record up to the end of each partition, in order of partition and offset."""
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
