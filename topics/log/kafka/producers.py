"""Send the records of a request to the cluster and wait for all acknowledgements together."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeGuard

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from core import lane
from core.errors import OutcomeUnknown, StorageError
from core.lane import Gate
from topics.log.errors import DeliveryFailed, QueueFull
from topics.log.kafka import errors
from topics.log.kafka.properties import Properties
from topics.log.kafka.statistics import DELIVERIES, Statistics
from topics.log.records import Record, RecordMetadata

DeliveryResult = RecordMetadata | StorageError
# A record and its partition.
Placed = tuple[str, int, Record]
METADATA_SECONDS = 2.0
# The errors of records queued in a transaction that can only be aborted.
UNSENT = {errors.name_of(KafkaError(code)) for code in (KafkaError._PURGE_QUEUE, KafkaError._STATE)}
INNOCENT = errors.name_of(KafkaError(KafkaError._INVALID_DIFFERENT_RECORD))
UNREPORTED = OutcomeUnknown("Kafka did not acknowledge the record in time")


class Room:
    """Limits the records and bytes in flight in one process, across all producers."""

    def __init__(self, records: int, size: int) -> None:
        self._lock = threading.Lock()
        self._records = records
        self._size = size

    @property
    def left(self) -> tuple[int, int]:
        """How many records and bytes there is still room for."""
        return self._records, self._size

    def take(self, records: int, size: int) -> None:
        """Reserve room. Raises QueueFull."""
        with self._lock:
            if records > self._records or size > self._size:
                raise QueueFull("too many records are in flight to the Kafka cluster")
            self._records -= records
            self._size -= size

    def give(self, records: int, size: int) -> None:
        with self._lock:
            self._records += records
            self._size += size


class Delivery:
    """The outcomes of one request's records. They share one gate: a future per record would cost more than sending."""

    def __init__(self, count: int) -> None:
        self.outcomes: list[DeliveryResult | None] = [None] * count
        self._reported: list[int] = []
        self._of_batch: list[int] = []
        self._expected = -1
        self._done = Gate()
        self.is_reported = False
        self._then: list[Callable[[], None]] = []
        self.has_failed = False

    def report(self, index: int, error: KafkaError | None, message: Message) -> None:
        """Store the outcome of one record. Called by the thread that polls the producer."""
        if error is None:
            self.outcomes[index] = RecordMetadata(message.partition(), message.offset(), message.timestamp()[1])
        else:
            self.has_failed = True
            self.outcomes[index] = errors.of_record(error)
            if error.code() in errors.OF_BATCH:
                self._of_batch.append(index)
        self._reported.append(index)
        if len(self._reported) == self._expected:
            self._end()

    def expect(self, count: int, then: Callable[[], None] = lambda: None) -> None:
        """Declare that all records are queued and `count` will be reported; `then` is called after the last report."""
        self._then.append(then)
        self._expected = count
        if len(self._reported) == count:
            self._end()

    def _end(self) -> None:
        # Both threads may see the last report, but only one pops the callback.
        try:
            then = self._then.pop()
        except IndexError:
            return
        then()
        self._count()
        self.is_reported = True
        self._done.open()

    def _count(self) -> None:
        failed = Counter(outcome.code for outcome in self.failures()) if self.has_failed else Counter()
        DELIVERIES.add("", amount=len(self._reported) - failed.total())
        for code, count in failed.items():
            DELIVERIES.add(code, amount=count)

    def wait(self, seconds: float) -> bool:
        """Wait until all records are reported, for at most `seconds`. Return whether they are."""
        return self.is_reported or self._done.wait(max(0.0, seconds))

    def settle(self) -> "list[DeliveryResult]":
        """Return every record's outcome now; it is unknown for those that are not reported."""
        return [UNREPORTED if outcome is None else outcome for outcome in self.outcomes]

    def refused_with_batch(self) -> list[int]:
        """Return the indexes of records whose whole batch was rejected; each may succeed in its own batch."""
        return list(self._of_batch)

    def failures(self) -> list[StorageError]:
        """Return the errors of failed records, except those rejected before they were queued."""
        reported = [self.outcomes[index] for index in self._reported]
        unsent = [outcome for outcome in self.outcomes if isinstance(outcome, DeliveryFailed) and outcome.retriable]
        return unsent + [outcome for outcome in reported if isinstance(outcome, StorageError)]

    @property
    def reported(self) -> int:
        """How many records are reported."""
        return len(self._reported)

    def silent(self) -> list[int]:
        """Return the indexes of records that were not acknowledged in time."""
        return [
            index
            for index, outcome in enumerate(self.outcomes)
            if outcome is None or isinstance(outcome, OutcomeUnknown)
        ]

    @property
    def is_taken(self) -> bool:
        """Whether every record was acknowledged."""
        return all(isinstance(outcome, RecordMetadata) for outcome in self.outcomes)

    @property
    def is_refused(self) -> bool:
        """Whether any record would be rejected again."""
        return any(map(is_final, self.outcomes))


def is_final(outcome: DeliveryResult | None) -> TypeGuard[DeliveryFailed]:
    """Tell whether the same record would be rejected again."""
    return isinstance(outcome, DeliveryFailed) and not outcome.retriable


def is_innocent(outcome: DeliveryResult | None) -> bool:
    """Tell whether the record was rejected because of others in its batch."""
    return isinstance(outcome, DeliveryFailed) and outcome.code == INNOCENT


def never_left(failures: Sequence[StorageError]) -> bool:
    """Tell whether there are failures, and all of them are records that were never sent."""
    return bool(failures) and all(failure.code in UNSENT for failure in failures)


def send(producer: Producer, records: Sequence[Placed], delivery: Delivery) -> int:
    """Queue records for their partitions; return how many will be reported."""
    queued, unknown = _queue(producer, list(enumerate(records)), delivery)
    if unknown:
        # The server knows that the partitions exist; the client looks for new ones only every five minutes.
        for topic in {topic for _, (topic, _, _) in unknown}:
            with contextlib.suppress(KafkaException):
                lane.blocking(partial(producer.list_topics, topic, timeout=METADATA_SECONDS))
        queued += _queue(producer, unknown, delivery)[0]
    return queued


def _queue(
    producer: Producer, records: Sequence[tuple[int, Placed]], delivery: Delivery
) -> tuple[int, list[tuple[int, Placed]]]:
    """Queue numbered records; return how many were queued, and those whose partition the client does not know."""
    queued = 0
    unknown = []
    produce = producer.produce
    for index, (topic, partition, record) in records:
        delivery.outcomes[index] = None
        try:
            produce(
                topic,
                record.value,
                record.key,
                partition,
                on_delivery=partial(delivery.report, index),
                timestamp=record.timestamp,
                headers=record.headers,
            )
            queued += 1
        except BufferError:
            delivery.outcomes[index] = errors.of_record(KafkaError(KafkaError._QUEUE_FULL))
        except KafkaException as error:
            delivery.outcomes[index] = errors.of_record(errors.kafka_error(error), is_queued=False)
            if errors.kafka_error(error).code() in errors.UNKNOWN_PLACE:
                unknown.append((index, (topic, partition, record)))
    return queued, unknown


class KafkaProducer:
    """An idempotent producer and the thread that polls it. Create it in the process that uses it, after any fork."""

    def __init__(self, properties: Properties) -> None:
        self.statistics = Statistics()
        self._producer = Producer({**properties, "error_cb": self._failed, "stats_cb": self.statistics.note})
        self._stopping = False
        self.is_dead = False
        self._thread = threading.Thread(target=self._poll, name="takhin-kafka-poll", daemon=True)
        self._thread.start()

    def send(self, records: Sequence[Placed], room: Room) -> Delivery:
        """Queue records and return at once. Raises QueueFull."""
        size = sum(len(record.key or b"") + len(record.value or b"") for _, _, record in records)
        room.take(len(records), size)
        delivery = Delivery(len(records))
        queued = send(self._producer, records, delivery)
        delivery.expect(queued, lambda: room.give(len(records), size))
        return delivery

    def close(self, seconds: float) -> None:
        """Deliver queued records, within `seconds`, and close the producer."""
        self._stopping = True
        self._thread.join(1)
        self._producer.flush(seconds)
        self._producer.close()

    def _poll(self) -> None:
        while not self._stopping:
            self._producer.poll(0.1)

    def _failed(self, error: KafkaError) -> None:
        if error.code() in errors.DEAD or error.fatal():
            self.is_dead = True
