"""Send the records of a request to the cluster and wait for every acknowledgement at once."""

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeGuard

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from topics.backends.kafka import errors
from topics.backends.kafka.properties import Properties
from topics.errors import DeliveryFailed, LogError, OutcomeUnknown, QueueFull
from topics.records import Record, RecordMetadata

Outcome = RecordMetadata | LogError
# A record and its partition.
Placed = tuple[int, Record]
METADATA_SECONDS = 2.0
# What records get that were queued in a transaction, or are to be, when it can only be aborted.
UNSENT = {errors.name_of(KafkaError(code)) for code in (KafkaError._PURGE_QUEUE, KafkaError._STATE)}
INNOCENT = errors.name_of(KafkaError(KafkaError._INVALID_DIFFERENT_RECORD))
UNREPORTED = OutcomeUnknown("Kafka did not acknowledge it in time")


class Room:
    """Bounds what one process has on its way, by records and bytes, whichever producer it goes through."""

    def __init__(self, records: int, size: int) -> None:
        self._lock = threading.Lock()
        self._records = records
        self._size = size

    def take(self, records: int, size: int) -> None:
        """Raises QueueFull."""
        with self._lock:
            if records > self._records or size > self._size:
                raise QueueFull("too many records are on their way to the Kafka cluster")
            self._records -= records
            self._size -= size

    def give(self, records: int, size: int) -> None:
        with self._lock:
            self._records += records
            self._size += size


class Delivery:
    """The outcomes of one request's records; one event for all of them, for a future each costs more than sending."""

    def __init__(self, count: int) -> None:
        self.outcomes: list[Outcome | None] = [None] * count
        self._reported: list[int] = []
        self._of_batch: list[int] = []
        self._expected = -1
        self._done = threading.Event()
        self._then: list[Callable[[], None]] = []
        self.has_failed = False

    def report(self, index: int, error: KafkaError | None, message: Message) -> None:
        """What became of one record; called by the thread that serves the producer."""
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

    @property
    def is_reported(self) -> bool:
        return self._done.is_set()

    def expect(self, count: int, then: Callable[[], None] = lambda: None) -> None:
        """All records are queued, and this many will be reported; `then` is called after the last of them."""
        self._then.append(then)
        self._expected = count
        if len(self._reported) == count:
            self._end()

    def _end(self) -> None:
        # Both threads may see the last report; one of them gets the call.
        try:
            then = self._then.pop()
        except IndexError:
            return
        then()
        self._done.set()

    def settle(self, deadline: float) -> "list[Outcome]":
        """Every record's outcome, once all are reported or the time is up."""
        self._done.wait(max(0.0, deadline - time.monotonic()))
        return [UNREPORTED if outcome is None else outcome for outcome in self.outcomes]

    def refused_with_batch(self) -> list[int]:
        """The places of records whose whole batch was refused: each may be taken in a batch of its own."""
        return list(self._of_batch)

    def failures(self) -> list[LogError]:
        """Why records did not arrive, but for those that were refused before they were queued."""
        reported = [self.outcomes[index] for index in self._reported]
        unsent = [outcome for outcome in self.outcomes if isinstance(outcome, DeliveryFailed) and outcome.retriable]
        return unsent + [outcome for outcome in reported if isinstance(outcome, LogError)]

    @property
    def is_taken(self) -> bool:
        """Whether every record has arrived."""
        return all(isinstance(outcome, RecordMetadata) for outcome in self.outcomes)

    @property
    def is_refused(self) -> bool:
        """Whether a record would be refused again."""
        return any(map(is_final, self.outcomes))


def is_final(outcome: Outcome | None) -> TypeGuard[DeliveryFailed]:
    """Whether the same record would be refused again."""
    return isinstance(outcome, DeliveryFailed) and not outcome.retriable


def is_innocent(outcome: Outcome | None) -> bool:
    """Whether the record was refused for others of its batch."""
    return isinstance(outcome, DeliveryFailed) and outcome.code == INNOCENT


def never_left(failures: Sequence[LogError]) -> bool:
    """Whether records failed, though none of them was refused or sent in vain."""
    return bool(failures) and all(failure.code in UNSENT for failure in failures)


def send(producer: Producer, topic: str, records: Sequence[Placed], delivery: Delivery) -> int:
    """Queue records for their partitions; returns how many will be reported."""
    queued, unknown = _queue(producer, topic, list(enumerate(records)), delivery)
    if unknown:
        # The partitions do exist, by the gateway's own watch; the client looks for new ones every five minutes.
        with contextlib.suppress(KafkaException):
            producer.list_topics(topic, timeout=METADATA_SECONDS)
        queued += _queue(producer, topic, unknown, delivery)[0]
    return queued


def _queue(
    producer: Producer, topic: str, records: Sequence[tuple[int, Placed]], delivery: Delivery
) -> tuple[int, list[tuple[int, Placed]]]:
    """How many of these numbered records were queued, and which were not for their partition."""
    queued = 0
    unknown = []
    produce = producer.produce
    for index, (partition, record) in records:
        delivery.outcomes[index] = None
        try:
            produce(
                topic,
                record.value,
                record.key,
                partition,
                on_delivery=functools.partial(delivery.report, index),
                timestamp=record.timestamp,
                headers=record.headers,
            )
            queued += 1
        except BufferError:
            delivery.outcomes[index] = errors.of_record(KafkaError(KafkaError._QUEUE_FULL))
        except KafkaException as error:
            delivery.outcomes[index] = errors.of_record(errors.of(error), is_queued=False)
            if errors.of(error).code() in errors.UNKNOWN_PLACE:
                unknown.append((index, (partition, record)))
    return queued, unknown


class KafkaProducer:
    """An idempotent producer and the thread that polls it. Made in the process that uses it, after any fork."""

    def __init__(self, properties: Properties) -> None:
        self._producer = Producer({**properties, "error_cb": self._failed})
        self._stopping = False
        self.is_dead = False
        self._thread = threading.Thread(target=self._poll, name="takhin-kafka-poll", daemon=True)
        self._thread.start()

    def send(self, topic: str, records: Sequence[tuple[int, Record]], room: Room) -> Delivery:
        """Queue records and return at once. Raises QueueFull."""
        size = sum(len(record.key or b"") + len(record.value or b"") for _, record in records)
        room.take(len(records), size)
        delivery = Delivery(len(records))
        queued = send(self._producer, topic, records, delivery)
        delivery.expect(queued, lambda: room.give(len(records), size))
        return delivery

    def close(self, seconds: float) -> None:
        """Deliver what is queued, as far as the time allows, and end."""
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
