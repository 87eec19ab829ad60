"""Find the records that Kafka rejects, with trial transactions that are always aborted."""

import itertools
import time
from collections.abc import Iterator, Sequence

from core.errors import StorageUnavailable
from topics.log.contract import Entry
from topics.log.errors import NotAttempted
from topics.log.kafka import properties
from topics.log.kafka.producers import Delivery, DeliveryResult, Placed, is_final, is_innocent
from topics.log.kafka.transactions import TransactionalProducer, failures_of
from topics.log.records import Record, Write

# Indexes of records within an entry.
Group = list[int]


class RefusalSearch:
    """A search for the rejected records of one entry.

    `run` fills `refused` with the rejected records' outcomes by index, and `accepted` with groups that Kafka accepted
    as batches. Records that were not reached within `seconds` are in neither. Nothing is accepted of a strict entry
    with a rejected record.
    """

    def __init__(self, producer: TransactionalProducer, entry: Entry, seconds: float) -> None:
        self._producer = producer
        self._entry = entry
        self._records = placed_of(entry)
        self._deadline = time.monotonic() + seconds
        self.refused: dict[int, DeliveryResult] = {}
        self.accepted: list[Group] = []

    def run(self) -> None:
        """Raises StorageUnavailable if a trial fails for another reason."""
        self._ask_brokers()
        if not self._ends_here():
            self._halve()
        if self._ends_here():
            self.accepted = []

    def accepted_records(self) -> list[list[Placed]]:
        return [self._placed(group) for group in self.accepted]

    def outcomes(self, delivered: Sequence[Sequence[DeliveryResult | None]]) -> list[DeliveryResult | None]:
        """Return every record's outcome, given those of the accepted groups."""
        late = NotAttempted() if self._entry.strict else NotAttempted("too many records before it were rejected", True)
        found: list[DeliveryResult | None] = [self.refused.get(index, late) for index in range(len(self._records))]
        for group, outcomes in zip(self.accepted, delivered, strict=True):
            for index, outcome in zip(group, outcomes, strict=True):
                found[index] = outcome
        return found

    def _ends_here(self) -> bool:
        return self._entry.strict and bool(self.refused)

    def _ask_brokers(self) -> None:
        """Note the records that brokers name when they reject a batch because of several records (KIP-467).

        librdkafka distinguishes them from the rest of the batch, unless one record or all are invalid. Adding a valid
        record rules out that all are; `_halve` handles a single one.
        """
        good = Record(b"0", b"0", time.time_ns() // 1_000_000)
        while time.monotonic() < self._deadline:
            known = len(self.refused)
            groups = list(self._groups())
            deliveries = self._try(
                [
                    [*self._placed(group), (write.topic, write.partition, good)]
                    for write, group in zip(self._entry.writes, groups, strict=True)
                ]
            )
            for write, group, delivery in zip(self._entry.writes, groups, deliveries, strict=True):
                if _is_one_batch(write) and any(map(is_innocent, delivery.outcomes)):
                    self._note(group, delivery.outcomes[:-1])
            if len(self.refused) == known:
                break

    def _note(self, group: Group, outcomes: Sequence[DeliveryResult | None]) -> None:
        self.refused |= {index: outcome for index, outcome in zip(group, outcomes, strict=True) if is_final(outcome)}

    def _halve(self) -> None:
        """Halve the records until Kafka accepts each group as a batch, or rejects a single record."""
        pending = [group for group in self._groups() if group]
        while pending and time.monotonic() < self._deadline:
            deliveries = self._try(*[[self._placed(group)] for group in pending])
            taken = sum(delivery.is_taken for delivery in deliveries)
            self.accepted += pending[:taken]
            del pending[:taken]
            if not pending:
                break
            if not deliveries[-1].is_refused:
                raise not_taken(deliveries)
            group = pending.pop(0)
            if len(group) > 1:
                pending[:0] = [group[: len(group) // 2], group[len(group) // 2 :]]
            else:
                self._note(group, deliveries[-1].outcomes)

    def _try(self, *parts: list[list[Placed]]) -> list[Delivery]:
        deliveries = self._producer.send(*parts)
        self._producer.abort()
        return deliveries

    def _groups(self) -> Iterator[Group]:
        """Yield the indexes of each write's records, except rejected ones."""
        ends = itertools.accumulate(len(write.records) for write in self._entry.writes)
        for start, end in itertools.pairwise([0, *ends]):
            yield [index for index in range(start, end) if index not in self.refused]

    def _placed(self, group: Group) -> list[Placed]:
        return [self._records[index] for index in group]


def placed_of(entry: Entry) -> list[Placed]:
    return [(write.topic, write.partition, record) for write in entry.writes for record in write.records]


def _groups(entry: Entry) -> list[Group]:
    """Return the indexes of each write's records."""
    ends = list(itertools.accumulate(len(write.records) for write in entry.writes))
    return [list(range(start, end)) for start, end in itertools.pairwise([0, *ends])]


def _is_one_batch(write: Write) -> bool:
    """Tell whether these records and one more certainly fit in a single batch."""
    framing = 100 * (len(write.records) + 1)
    size = sum(record.size + 10 * len(record.headers) for record in write.records) + framing
    return len(write.records) < properties.BATCH_RECORDS and size < properties.BATCH_BYTES


def not_taken(deliveries: Sequence[Delivery]) -> StorageUnavailable:
    failures = failures_of(deliveries)
    return StorageUnavailable(f"Kafka did not accept the records: {failures[0] if failures else 'no response'}")
