"""Write several requests and their receipts in one Kafka transaction, and find the receipts after a crash.

A transactional id belongs to a session's name: a new session of that name fences the one before (KIP-98, KIP-360).
librdkafka lacks KIP-890, so that a late answer may decide a later transaction; hence nothing is ever asked again of a
producer whose commit or abort is in doubt: it is thrown away, and a new one reads what was decided.

A broker's refusal ends the whole transaction. Which records it meant is found out by transactions that are aborted,
whatever comes of them; then the others are written.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import KafkaException, Producer

from topics.backends.base import Entry, RefusedTogether, Results, Session
from topics.backends.kafka import errors, properties
from topics.backends.kafka.cluster import RECEIPTS, Cluster
from topics.backends.kafka.producers import Delivery, Outcome, Placed, is_final, is_innocent, never_left, send
from topics.backends.kafka.receipts import Receipts
from topics.compression import CODECS
from topics.errors import LogError, LogUnavailable, NotAttempted, OutcomeUnknown
from topics.records import Record, Write

INIT_SECONDS = 10.0
# Longer than a delivery may take, so that every record is reported.
REPORT_SECONDS = 10.0
# What was on its way beside a record that failed is answered within this, most of it.
LAST_REPORTS_SECONDS = 0.02
# Other requests wait while the refused records of one are found.
REFUSALS_SECONDS = 10.0
COMMIT_SECONDS = 10.0
# A topic and records for it, which are one batch where they are for one partition.
Batch = tuple[str, Sequence[Placed]]
# Places of records among those of an entry.
Group = list[int]
Refused = dict[int, Outcome]


class KafkaSession(Session):
    """One thread's; that thread alone serves its producers, while it waits."""

    def __init__(self, cluster: Cluster, name: str, is_ours: Callable[[], bool]) -> None:
        self._name = name
        self._receipts = Receipts(cluster, name)
        # A producer has one codec. All are opened, for an earlier owner may have left a transaction open in any; at the
        # same time, for each waits half a second for its coordinator.
        with ThreadPoolExecutor(len(CODECS)) as pool:
            self._producers = dict(zip(CODECS, pool.map(self._opened, CODECS), strict=True))
        if not is_ours():
            raise OutcomeUnknown(f"session {name} has another owner")

    def _opened(self, codec: str) -> Producer:
        """A producer that shuts out those before it; it returns once their transaction is committed or aborted."""
        producer = Producer(properties.transactional(f"{self._name}-{codec}", codec))
        try:
            producer.init_transactions(INIT_SECONDS)
        except KafkaException as error:
            raise errors.of_call(error) from error
        return producer

    def append(self, entries: Sequence[Entry]) -> list[Results]:
        self._producer = self._producers[entries[0].writes[0].codec]
        deliveries = self._send([(entry.topic, _records(entry)) for entry in entries])
        if all(delivery.is_taken for delivery in deliveries):
            return self._commit(entries, [delivery.outcomes for delivery in deliveries])
        self._abort()
        if not any(delivery.is_refused for delivery in deliveries):
            raise _not_taken(deliveries)
        if len(entries) > 1:
            raise RefusedTogether("Kafka refuses a record of one of these requests")
        return [self._append_but_refused(entries[0])]

    def _append_but_refused(self, entry: Entry) -> Results:
        """Find the records that Kafka refuses and append the others; none where the entry is strict."""
        deadline = time.monotonic() + REFUSALS_SECONDS
        records = _records(entry)
        groups: list[Group] = []
        refused = self._named(entry, deadline)
        if not (refused and entry.strict):
            groups = self._split(entry, refused, deadline)
        if refused and entry.strict:
            groups = []
        deliveries = self._send(*[[(entry.topic, [records[index] for index in group])] for group in groups])
        if len(deliveries) < len(groups) or not all(delivery.is_taken for delivery in deliveries):
            self._abort()
            raise LogUnavailable("Kafka refused records that it had taken before")
        late = NotAttempted() if entry.strict else NotAttempted("too many records before it were refused", True)
        outcomes: list[Outcome | None] = [refused.get(index, late) for index in range(len(records))]
        for group, delivery in zip(groups, deliveries, strict=True):
            for index, outcome in zip(group, delivery.outcomes, strict=True):
                outcomes[index] = outcome
        return self._commit([entry], [outcomes])[0]

    def _named(self, entry: Entry, deadline: float) -> Refused:
        """The records that brokers name as the reason when they refuse a batch for several of its records (KIP-467).

        librdkafka tells them from the rest of the batch, unless one of them is to blame or all. That all are is
        excluded by a good record beside them; that one is, is left for `_split`.
        """
        refused: Refused = {}
        groups = _groups(entry)
        good = Record(b"0", b"0", time.time_ns() // 1_000_000)
        while time.monotonic() < deadline:
            left = [[index for index in group if index not in refused] for group in groups]
            records = _records(entry)
            deliveries = self._send(
                [
                    (entry.topic, [*(records[index] for index in group), (write.partition, good)])
                    for write, group in zip(entry.writes, left, strict=True)
                ]
            )
            self._abort()
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
        """Halve the records until Kafka takes each group as a batch; what it does not take alone becomes refused.

        Those it has not come to when the time is up are in no group.
        """
        records = _records(entry)
        pending = [group for whole in _groups(entry) if (group := [i for i in whole if i not in refused])]
        groups: list[Group] = []
        while pending and time.monotonic() < deadline:
            deliveries = self._send(*[[(entry.topic, [records[index] for index in group])] for group in pending])
            self._abort()
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

    def _send(self, *steps: Sequence[Batch]) -> list[Delivery]:
        """Begin a transaction and send one step's batches after the other's, until one of them is not taken."""
        deliveries = self._send_once(steps)
        if never_left(_failures(deliveries)):
            # librdkafka gave sequence numbers to what an earlier transaction did not send, and sees the gap only now.
            self._abort()
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

    def _commit(self, entries: Sequence[Entry], outcomes: Sequence[Sequence[Outcome | None]]) -> list[Results]:
        results = [_results(entry, one) for entry, one in zip(entries, outcomes, strict=True)]
        now_ms = time.time_ns() // 1_000_000
        receipts = [
            (self._receipts.partition, Record(entry.key.encode(), entry.receipt(result), now_ms))
            for entry, result in zip(entries, results, strict=True)
        ]
        try:
            delivery = self._queue(RECEIPTS, receipts)
            self._serve([delivery])
            if not delivery.is_taken:
                self._abort()
                raise LogUnavailable(f"Kafka did not take the receipts: {delivery.outcomes[0]}")
            self._producer.commit_transaction(COMMIT_SECONDS)
        except KafkaException as error:
            raise _over(error) from error
        return results

    def _abort(self) -> None:
        try:
            self._producer.abort_transaction(COMMIT_SECONDS)
        except KafkaException as error:
            raise _over(error) from error

    def receipts(self, keys: Sequence[str], since_ms: int) -> dict[str, bytes]:
        return self._receipts.find(keys, since_ms)

    def close(self) -> None:
        for producer in self._producers.values():
            # Records of a transaction in doubt must not leave any more.
            producer.purge()


def _over(error: KafkaException) -> OutcomeUnknown:
    kafka = errors.of(error)
    return OutcomeUnknown(f"the transaction was not decided ({kafka.name()}: {kafka.str()})")


def _records(entry: Entry) -> list[Placed]:
    return [(write.partition, record) for write in entry.writes for record in write.records]


def _groups(entry: Entry) -> list[Group]:
    """The places of each write's records."""
    ends = list(itertools.accumulate(len(write.records) for write in entry.writes))
    return [list(range(start, end)) for start, end in itertools.pairwise([0, *ends])]


def _is_one_batch(write: Write) -> bool:
    """Whether these records surely make a single batch, with one more beside them."""
    framing = 100 * (len(write.records) + 1)
    size = sum(record.size + 10 * len(record.headers) for record in write.records) + framing
    return len(write.records) < properties.BATCH_RECORDS and size < properties.BATCH_BYTES


def _failures(deliveries: Sequence[Delivery]) -> list[LogError]:
    return [failure for delivery in deliveries for failure in delivery.failures()]


def _not_taken(deliveries: Sequence[Delivery]) -> LogUnavailable:
    failures = _failures(deliveries)
    return LogUnavailable(f"Kafka did not take the records: {failures[0] if failures else 'no answer'}")


def _results(entry: Entry, outcomes: Sequence[Outcome | None]) -> Results:
    rest = iter(outcomes)
    results: Results = []
    for write in entry.writes:
        taken = list(itertools.islice(rest, len(write.records)))
        results.append([outcome for outcome in taken if outcome is not None])
        assert len(results[-1]) == len(taken)
    return results
