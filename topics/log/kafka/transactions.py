"""Send batches to Kafka in transactions that are committed with their receipts, or aborted.

A transactional id belongs to one producer: a new producer with that id fences the previous one (KIP-98, KIP-360).
librdkafka lacks KIP-890, so a late response may decide a later transaction. Therefore a producer whose commit or abort
is in doubt is never used again: it is discarded, and a new one reads what was decided.
"""

import time
from collections.abc import Sequence

from confluent_kafka import KafkaException, Producer

from core.errors import OutcomeUnknown, StorageError, StorageUnavailable
from topics.log.kafka import errors, properties
from topics.log.kafka.producers import Delivery, Placed, never_left, send

INIT_SECONDS = 10.0
# Longer than a delivery, so that every record is reported.
REPORT_SECONDS = 10.0
# Most records in flight beside a failed record are reported within this time.
LAST_REPORTS_SECONDS = 0.02
COMMIT_SECONDS = 10.0
# A topic and records for it; the records for one partition form a batch.
Batch = tuple[str, Sequence[Placed]]


class TransactionalProducer:
    """A session's producer for one codec. The thread that uses it polls it while it waits.

    Every method except the constructor may raise OutcomeUnknown. The producer is then unusable.
    """

    def __init__(self, name: str, codec: str) -> None:
        """Fence earlier producers and wait for their transaction's decision. Raises StorageUnavailable, LogRefused."""
        self._producer = Producer(properties.transactional(f"{name}-{codec}", codec))
        try:
            self._producer.init_transactions(INIT_SECONDS)
        except KafkaException as error:
            raise errors.of_call(error) from error

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
            self._producer.begin_transaction()
            for step in steps:
                queued = [self._queue(topic, records) for topic, records in step]
                deliveries += queued
                self._serve(queued)
                if not all(delivery.is_taken for delivery in queued):
                    break
        except KafkaException as error:
            raise _over(error) from error
        return deliveries

    def _queue(self, topic: str, records: Sequence[Placed]) -> Delivery:
        delivery = Delivery(len(records))
        delivery.expect(send(self._producer, topic, records, delivery))
        return delivery

    def _serve(self, deliveries: Sequence[Delivery]) -> None:
        """Flush until every record is reported or one has failed.

        Records queued behind a failed record would never be sent.
        """
        deadline = time.monotonic() + REPORT_SECONDS
        while not all(delivery.is_reported for delivery in deliveries) and time.monotonic() < deadline:
            if any(delivery.has_failed for delivery in deliveries):
                while self._producer.poll(LAST_REPORTS_SECONDS):
                    pass
                return
            self._producer.flush(0.1)

    def commit(self, receipts: Batch) -> None:
        """Commit the transaction with the receipts. Raises StorageUnavailable after aborting the transaction."""
        try:
            delivery = self._queue(*receipts)
            self._serve([delivery])
            if not delivery.is_taken:
                self.abort()
                raise StorageUnavailable(f"Kafka did not accept the receipts: {delivery.outcomes[0]}")
            self._producer.commit_transaction(COMMIT_SECONDS)
        except KafkaException as error:
            raise _over(error) from error

    def abort(self) -> None:
        try:
            self._producer.abort_transaction(COMMIT_SECONDS)
        except KafkaException as error:
            raise _over(error) from error

    def close(self) -> None:
        # Records of a transaction in doubt must not be sent any more.
        self._producer.purge()


def failures_of(deliveries: Sequence[Delivery]) -> list[StorageError]:
    return [failure for delivery in deliveries for failure in delivery.failures()]


def _over(error: KafkaException) -> OutcomeUnknown:
    kafka = errors.kafka_error(error)
    return OutcomeUnknown(f"the transaction was not decided ({kafka.name()}: {kafka.str()})")
