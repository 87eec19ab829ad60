"""Read records by offset, with consumers that belong to no group."""

import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from core.errors import StorageUnavailable
from topics.log.kafka import errors, properties
from topics.log.records import StoredRecord
from topics.log.validation import MAX_READ_BYTES

READ_SECONDS = 5.0
# A consumer takes a connection to each broker and a few threads, so only a few are kept.
MOST_KEPT = 4
# Each step back is so many times as long as the one before.
STEPS_BACK = 4


class Reader:
    """Reads any topic. Consumers are kept for later reads."""

    def __init__(self) -> None:
        self._idle: queue.LifoQueue[Consumer] = queue.LifoQueue(MOST_KEPT)

    def read(self, topic: str, partition: int, start: int, end: int, limit: int) -> list[StoredRecord]:
        """Return at most `limit` records with offsets from `start` to before `end`, without aborted ones.

        Raises StorageUnavailable.
        """
        with self._consumer() as consumer:
            consumer.assign([TopicPartition(topic, partition, start)])
            found: list[StoredRecord] = []
            size = 0
            for message in _messages(consumer, end, time.monotonic() + READ_SECONDS):
                record = _stored(message)
                size += len(record.key or b"") + len(record.value or b"")
                if found and size > MAX_READ_BYTES:
                    break
                found.append(record)
                if len(found) == limit:
                    break
            return found

    def count_back(self, topic: str, partition: int, first: int, end: int, count: int) -> int:
        """Return the offset of the record with `count - 1` records behind it, or `first` if there are fewer.

        Control records and compaction leave gaps in the offsets, so the records have to be counted. Their content is
        not kept. Raises StorageUnavailable if that takes more than READ_SECONDS.
        """
        deadline = time.monotonic() + READ_SECONDS
        offsets: list[int] = []
        start = end
        # Exactly as many offsets at first, because most partitions have no gaps.
        step = count
        while start > first and len(offsets) < count:
            stop, start, step = start, max(first, start - step), STEPS_BACK * step
            with self._consumer() as consumer:
                consumer.assign([TopicPartition(topic, partition, start)])
                offsets[:0] = [message.offset() for message in _messages(consumer, stop, deadline)]
        return offsets[-count] if len(offsets) >= count else first

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        """Return the first offset whose record is not older than `timestamp_ms`, or None."""
        with self._consumer() as consumer:
            asked = [TopicPartition(topic, partition, timestamp_ms)]
            (found,) = consumer.offsets_for_times(asked, timeout=READ_SECONDS)
            return None if found.offset < 0 else int(found.offset)

    def close(self) -> None:
        while not self._idle.empty():
            self._idle.get().close()

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        try:
            consumer = self._idle.get_nowait()
        except queue.Empty:
            consumer = properties.new_consumer()
        try:
            yield consumer
            consumer.unassign()
        except KafkaException as error:
            consumer.close()
            raise errors.of_call(error) from error
        except BaseException:
            consumer.close()
            raise
        try:
            self._idle.put_nowait(consumer)
        except queue.Full:
            consumer.close()


def _messages(consumer: Consumer, end: int, deadline: float) -> Iterator[Message]:
    """Yield messages up to `end`, the end of the partition when the read began. Raises StorageUnavailable."""
    while (left := deadline - time.monotonic()) > 0:
        # One message at a time, because `consume` would fetch a whole batch, whatever its size.
        message = consumer.poll(left)
        if message is None:
            break
        error = message.error()
        if error is None:
            if message.offset() >= end:
                return
            yield message
            if message.offset() >= end - 1:
                return
        elif error.code() == KafkaError._PARTITION_EOF:
            return
        elif not errors.is_transient(error):
            raise KafkaException(error)
    raise StorageUnavailable(f"the Kafka cluster did not return the records within {READ_SECONDS:g} seconds")


def _stored(message: Message) -> StoredRecord:
    return StoredRecord(
        partition=message.partition(),
        offset=message.offset(),
        timestamp=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=message.headers() or [],
    )
