"""Send batches to Kafka in transactions that are committed with their receipts, or aborted.

A transactional id belongs to one producer: a new producer with that id fences the previous one (KIP-98, KIP-360).
librdkafka lacks KIP-890, so a late response may decide a later transaction. Therefore a producer whose commit or abort
is in doubt is never used again: it is discarded, and a new one reads what was decided.
"""

import contextlib
import itertools
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter

from confluent_kafka import KafkaException, Producer

from core import crashes
from core.errors import OutcomeUnknown, StorageError, StorageUnavailable
from topics.log.contract import SessionStuck
from topics.log.errors import LogRefused
from topics.log.kafka import errors, properties
from topics.log.kafka.producers import Delivery, Placed, is_final, never_left, send

INIT_SECONDS = 5.0
# If none of a topic's records has been reported for so many rounds, their partitions are in trouble. Rounds, because a
# process may have been paused, and time alone would then blame the partitions.
ROUND_SECONDS = 0.1
SILENT_ROUNDS = 20
SILENT_SECONDS = ROUND_SECONDS * SILENT_ROUNDS
# Most records in flight beside a failed record are reported within this time.
LAST_REPORTS_SECONDS = 0.02
COMMIT_SECONDS = 10.0
# A coordinator aborts within milliseconds, unless the transaction has a partition that cannot be written.
ABORT_SECONDS = 1.5
# Records that are sent together; those for one partition form a batch.
Batch = Sequence[Placed]
Topics = frozenset[str]


class TransactionalProducer:
    """A session's producer for one codec. The thread that uses it polls it while it waits.

    Every method but the constructor and `close` may raise OutcomeUnknown, and those that abort may raise SessionStuck.
    The producer is then unusable.
    """

    def __init__(self, name: str, codec: str) -> None:
        """Fence earlier producers and wait for their transaction's decision. Raises SessionStuck, LogRefused."""
        self._is_open = False
        self._producer = Producer(properties.transactional(f"{name}-{codec}", codec))
        try:
            self._producer.init_transactions(INIT_SECONDS)
        except KafkaException as error:
            failure = errors.of_call(error)
            if not isinstance(failure, StorageUnavailable):
                raise failure from error
            raise SessionStuck(f"the transaction of an earlier owner is not decided yet: {failure}") from error

    def send(self, *steps: Sequence[Batch]) -> list[Delivery]:
        """Begin a transaction and send the batches step by step, until one is not accepted."""
        deliveries = self._send_once(steps)
        if never_left(failures_of(deliveries)):
            # librdkafka numbered records that an earlier transaction did not send, and detects the gap only now.
            self.abort()
            deliveries = self._send_once(steps)
        return deliveries

    def _send_once(self, steps: Sequence[Sequence[Batch]]) -> list[Delivery]:
        deliveries: list[Delivery] = []
        try:
            crashes.at("kafka.begin.before")
            self._producer.begin_transaction()
            crashes.at("kafka.begin.after")
            self._is_open = True
            for step in steps:
                crashes.at("kafka.send.before")
                queued = [self._queue(records) for records in step]
                deliveries += queued
                self._serve(list(map(_topics_of, step)), queued)
                crashes.at("kafka.send.after")
                if not all(delivery.is_taken for delivery in queued):
                    break
        except KafkaException as error:
            raise _over(error) from error
        return deliveries

    def _queue(self, records: Batch) -> Delivery:
        delivery = Delivery(len(records))
        delivery.expect(send(self._producer, records, delivery))
        return delivery

    def _serve(self, topics: Sequence[Topics], deliveries: Sequence[Delivery]) -> None:
        """Flush until every record is reported or one has failed, or a topic has been silent for SILENT_ROUNDS.

        `topics` has the topics of each delivery. Records queued behind a failed record would never be sent.
        """
        heard = dict.fromkeys(topics, (0, 0))
        for number in itertools.count(1):
            self._producer.flush(ROUND_SECONDS)
            if any(delivery.has_failed for delivery in deliveries):
                while self._producer.poll(LAST_REPORTS_SECONDS):
                    pass
                return
            missing, reported = set(), Counter[Topics]()
            for names, delivery in zip(topics, deliveries, strict=True):
                reported[names] += delivery.reported
                if not delivery.is_reported:
                    missing.add(names)
            heard |= {names: (count, number) for names, count in reported.items() if count > heard[names][0]}
            if not missing or any(number - heard[names][1] >= SILENT_ROUNDS for names in missing):
                return

    def commit(self, receipts: Batch) -> None:
        """Commit the transaction with the receipts. Raises StorageUnavailable and LogRefused after aborting it."""
        try:
            delivery = self._queue(receipts)
            self._serve([_topics_of(receipts)], [delivery])
            if not delivery.is_taken:
                self.abort()
                raise _rejected(delivery)
            # If this fails, it is not known whether there is anything left to abort.
            self._is_open = False
            crashes.at("kafka.commit.before")
            self._producer.commit_transaction(COMMIT_SECONDS)
            crashes.at("kafka.commit.after")
        except KafkaException as error:
            raise _over(error) from error

    def abort(self) -> None:
        """Abort the transaction. Raises SessionStuck: even then nobody commits it, because only this producer could."""
        try:
            self._producer.abort_transaction(ABORT_SECONDS)
            self._is_open = False
        except KafkaException as error:
            kafka = errors.kafka_error(error)
            raise SessionStuck(f"the transaction is not aborted yet ({kafka.name()}: {kafka.str()})") from error

    def close(self) -> None:
        """Abort the transaction if one is open, so that it holds up nobody who reads committed records."""
        # Its records must not be sent any more.
        self._producer.purge()
        if self._is_open:
            with contextlib.suppress(KafkaException):
                self._producer.abort_transaction(COMMIT_SECONDS)


def failures_of(deliveries: Sequence[Delivery]) -> list[StorageError]:
    return [failure for delivery in deliveries for failure in delivery.failures()]


def _topics_of(records: Batch) -> Topics:
    return frozenset(map(itemgetter(0), records))


def _rejected(receipts: Delivery) -> StorageError:
    final = next(filter(is_final, receipts.outcomes), None)
    if final is not None:
        return LogRefused(f"Kafka rejects the receipts: {final}")
    return StorageUnavailable("Kafka did not accept the receipts")


def _over(error: KafkaException) -> OutcomeUnknown:
    kafka = errors.kafka_error(error)
    return OutcomeUnknown(f"the transaction was not decided ({kafka.name()}: {kafka.str()})")
