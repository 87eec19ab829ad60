"""Append several requests and their receipts in one Kafka transaction, and find the receipts after a crash.

If a broker rejects a record, the whole transaction fails. The session then finds the rejected records with trial
transactions that are always aborted, and writes the others.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from core.errors import OutcomeUnknown, StorageUnavailable
from topics.log.compression import CODECS
from topics.log.contract import Entry, RefusedTogether, Results, Session
from topics.log.errors import NotAttempted
from topics.log.kafka import properties
from topics.log.kafka.cluster import RECEIPTS, Cluster
from topics.log.kafka.producers import Delivery, DeliveryResult, Placed, is_final, is_innocent
from topics.log.kafka.receipts import Receipts
from topics.log.kafka.transactions import TransactionalProducer, failures_of
from topics.log.records import Record, Write

# Other requests wait while the session looks for the rejected records of one request.
REFUSALS_SECONDS = 10.0
# Indexes of records within an entry.
Group = list[int]
Refused = dict[int, DeliveryResult]


class KafkaSession(Session):
    """A session of one thread. Only that thread polls the session's producers, while it waits."""

    def __init__(self, cluster: Cluster, name: str, is_ours: Callable[[], bool]) -> None:
        self._receipts = Receipts(cluster, name)
        # Each producer has one codec. Open all, because an earlier owner may have left a transaction open in any of
        # them; open them concurrently, because each waits half a second for its coordinator.
        with ThreadPoolExecutor(len(CODECS)) as pool:
            opened = pool.map(lambda codec: TransactionalProducer(name, codec), CODECS)
            self._producers = dict(zip(CODECS, opened, strict=True))
        if not is_ours():
            raise OutcomeUnknown(f"session {name} has another owner")

    def append(self, entries: Sequence[Entry]) -> list[Results]:
        self._producer = self._producers[entries[0].writes[0].codec]
        deliveries = self._producer.send([(entry.topic, _records(entry)) for entry in entries])
        if all(delivery.is_taken for delivery in deliveries):
            return self._commit(entries, [delivery.outcomes for delivery in deliveries])
        self._producer.abort()
        if not any(delivery.is_refused for delivery in deliveries):
            raise _not_taken(deliveries)
        if len(entries) > 1:
            raise RefusedTogether("Kafka rejects a record of one of these requests")
        return [self._append_but_refused(entries[0])]

    def _append_but_refused(self, entry: Entry) -> Results:
        """Find the records that Kafka rejects and append the others; append none if the entry is strict."""
        deadline = time.monotonic() + REFUSALS_SECONDS
        records = _records(entry)
        groups: list[Group] = []
        refused = self._named(entry, deadline)
        if not (refused and entry.strict):
            groups = self._split(entry, refused, deadline)
        if refused and entry.strict:
            groups = []
        deliveries = self._producer.send(*[[(entry.topic, [records[index] for index in group])] for group in groups])
        if len(deliveries) < len(groups) or not all(delivery.is_taken for delivery in deliveries):
            self._producer.abort()
            raise StorageUnavailable("Kafka rejected records that it had accepted before")
        late = NotAttempted() if entry.strict else NotAttempted("too many records before it were rejected", True)
        outcomes: list[DeliveryResult | None] = [refused.get(index, late) for index in range(len(records))]
        for group, delivery in zip(groups, deliveries, strict=True):
            for index, outcome in zip(group, delivery.outcomes, strict=True):
                outcomes[index] = outcome
        return self._commit([entry], [outcomes])[0]

    def _named(self, entry: Entry, deadline: float) -> Refused:
        """Return the records that brokers name when they reject a batch because of several records (KIP-467).

        librdkafka distinguishes them from the rest of the batch, unless one record or all are invalid. Adding a valid
        record rules out that all are; `_split` handles a single one.
        """
        refused: Refused = {}
        groups = _groups(entry)
        good = Record(b"0", b"0", time.time_ns() // 1_000_000)
        while time.monotonic() < deadline:
            left = [[index for index in group if index not in refused] for group in groups]
            records = _records(entry)
            deliveries = self._producer.send(
                [
                    (entry.topic, [*(records[index] for index in group), (write.partition, good)])
                    for write, group in zip(entry.writes, left, strict=True)
                ]
            )
            self._producer.abort()
            known = len(refused)
            for write, group, delivery in zip(entry.writes, left, deliveries, strict=True):
                if _is_one_batch(write) and any(map(is_innocent, delivery.outcomes)):
                    refused |= {
                        index: outcome
                        for index, outcome in zip(group, delivery.outcomes[:-1], strict=True)
                        if is_final(outcome)
                    }
            if len(refused) == known:
                break
        return refused

    def _split(self, entry: Entry, refused: Refused, deadline: float) -> list[Group]:
        """Halve the records until Kafka accepts each group as a batch; add those it rejects individually to `refused`.

        Records not yet tried at the deadline are in no group.
        """
        records = _records(entry)
        pending = [group for whole in _groups(entry) if (group := [i for i in whole if i not in refused])]
        groups: list[Group] = []
        while pending and time.monotonic() < deadline:
            deliveries = self._producer.send(
                *[[(entry.topic, [records[index] for index in group])] for group in pending]
            )
            self._producer.abort()
            taken = sum(delivery.is_taken for delivery in deliveries)
            groups += pending[:taken]
            del pending[:taken]
            if not pending:
                break
            if not deliveries[-1].is_refused:
                raise _not_taken(deliveries)
            group = pending.pop(0)
            if len(group) > 1:
                pending[:0] = [group[: len(group) // 2], group[len(group) // 2 :]]
            elif is_final(outcome := deliveries[-1].outcomes[0]):
                refused[group[0]] = outcome
        return groups

    def _commit(self, entries: Sequence[Entry], outcomes: Sequence[Sequence[DeliveryResult | None]]) -> list[Results]:
        results = [_results(entry, one) for entry, one in zip(entries, outcomes, strict=True)]
        now_ms = time.time_ns() // 1_000_000
        receipts = [
            (self._receipts.partition, Record(entry.key.encode(), entry.receipt(result), now_ms))
            for entry, result in zip(entries, results, strict=True)
        ]
        self._producer.commit((RECEIPTS, receipts))
        return results

    def receipts(self, keys: Sequence[str], since_ms: int) -> dict[str, bytes]:
        return self._receipts.find(keys, since_ms)

    def close(self) -> None:
        for producer in self._producers.values():
            producer.close()


def _records(entry: Entry) -> list[Placed]:
    return [(write.partition, record) for write in entry.writes for record in write.records]


def _groups(entry: Entry) -> list[Group]:
    """Return the indexes of each write's records."""
    ends = list(itertools.accumulate(len(write.records) for write in entry.writes))
    return [list(range(start, end)) for start, end in itertools.pairwise([0, *ends])]


def _is_one_batch(write: Write) -> bool:
    """Tell whether these records and one more certainly fit in a single batch."""
    framing = 100 * (len(write.records) + 1)
    size = sum(record.size + 10 * len(record.headers) for record in write.records) + framing
    return len(write.records) < properties.BATCH_RECORDS and size < properties.BATCH_BYTES


def _not_taken(deliveries: Sequence[Delivery]) -> StorageUnavailable:
    failures = failures_of(deliveries)
    return StorageUnavailable(f"Kafka did not accept the records: {failures[0] if failures else 'no response'}")


def _results(entry: Entry, outcomes: Sequence[DeliveryResult | None]) -> Results:
    rest = iter(outcomes)
    results: Results = []
    for write in entry.writes:
        taken = list(itertools.islice(rest, len(write.records)))
        results.append([outcome for outcome in taken if outcome is not None])
        assert len(results[-1]) == len(taken)
    return results
