"""Send batches to Kafka in transactions that are committed with their receipts, or aborted.

A transactional id belongs to one producer: a new one of that id fences the one before (KIP-98, KIP-360). librdkafka
lacks KIP-890, so that a late answer may decide a later transaction; hence nothing is ever asked again of a producer
whose commit or abort is in doubt: it is thrown away, and a new one reads what was decided.
"""

import time
from collections.abc import Sequence

from confluent_kafka import KafkaException, Producer

from topics.backends.kafka import errors, properties
from topics.backends.kafka.producers import Delivery, Placed, never_left, send
from topics.errors import LogError, LogUnavailable, OutcomeUnknown

INIT_SECONDS = 10.0
# Longer than a delivery may take, so that every record is reported.
REPORT_SECONDS = 10.0
# What was on its way beside a record that failed is answered within this, most of it.
LAST_REPORTS_SECONDS = 0.02
COMMIT_SECONDS = 10.0
# A topic and records for it, which are one batch where they are for one partition.
Batch = tuple[str, Sequence[Placed]]


class TransactionalProducer:
    """One codec's producer of a session; the thread that uses it serves it, while it waits.

    Each call but the first may raise OutcomeUnknown, and the producer is over then.
    """

    def __init__(self, name: str, codec: str) -> None:
        """Shut out those before it, and wait until their transaction is decided. Raises LogUnavailable, LogRefused."""
        self._producer = Producer(properties.transactional(f"{name}-{codec}", codec))
        try:
            self._producer.init_transactions(INIT_SECONDS)
        except KafkaException as error:
            raise errors.of_call(error) from error

    def send(self, *steps: Sequence[Batch]) -> list[Delivery]:
        """Begin a transaction and send one step's batches after the other's, until one of them is not taken."""
        deliveries = self._send_once(steps)
        if never_left(failures_of(deliveries)):
            # librdkafka gave sequence numbers to what an earlier transaction did not send, and sees the gap only now.
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
        """Send what is queued, until every record is reported, or one has failed: what is queued behind that one would
        never leave.
        """
        deadline = time.monotonic() + REPORT_SECONDS
        while not all(delivery.is_reported for delivery in deliveries) and time.monotonic() < deadline:
            if any(delivery.has_failed for delivery in deliveries):
                while self._producer.poll(LAST_REPORTS_SECONDS):
                    pass
                return
            self._producer.flush(0.1)

    def commit(self, receipts: Batch) -> None:
        """End the transaction, these records in it. Raises LogUnavailable, and the transaction is aborted then."""
        try:
            delivery = self._queue(*receipts)
            self._serve([delivery])
            if not delivery.is_taken:
                self.abort()
                raise LogUnavailable(f"Kafka did not take the receipts: {delivery.outcomes[0]}")
            self._producer.commit_transaction(COMMIT_SECONDS)
        except KafkaException as error:
            raise _over(error) from error

    def abort(self) -> None:
        try:
            self._producer.abort_transaction(COMMIT_SECONDS)
        except KafkaException as error:
            raise _over(error) from error

    def close(self) -> None:
        # Records of a transaction in doubt must not leave any more.
        self._producer.purge()


def failures_of(deliveries: Sequence[Delivery]) -> list[LogError]:
    return [failure for delivery in deliveries for failure in delivery.failures()]


def _over(error: KafkaException) -> OutcomeUnknown:
    kafka = errors.of(error)
    return OutcomeUnknown(f"the transaction was not decided ({kafka.name()}: {kafka.str()})")
