"""Write several requests and their receipts in one Kafka transaction, and find the receipts after a crash.

A transactional id belongs to a session's name: a new session of that name fences the one before (KIP-98, KIP-360).
librdkafka lacks KIP-890, so that a late answer may decide a later transaction; hence nothing is ever asked again of a
producer whose commit or abort is in doubt: it is thrown away, and a new one reads what was decided.

A broker's refusal ends the whole transaction. Which records it meant is found out by transactions that are aborted,
whatever comes of them; then the others are written.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import KafkaException, Producer

from topics.backends.base import Entry, RefusedTogether, Results, Session
from topics.backends.kafka import errors, properties
from topics.backends.kafka.cluster import RECEIPTS, Cluster
from topics.backends.kafka.producers import Delivery, Outcome, is_final, never_left, send
from topics.backends.kafka.receipts import Receipts
from topics.compression import CODECS
from topics.errors import LogError, LogUnavailable, NotAttempted, OutcomeUnknown
from topics.records import Record, RecordMetadata, Write

INIT_SECONDS = 10.0
# Longer than a delivery may take, so that every record is reported.
REPORT_SECONDS = 10.0
# What was on its way beside a record that failed is answered within this, most of it.
LAST_REPORTS_SECONDS = 0.02
# Other requests wait while the refused records of one are found.
REFUSALS_SECONDS = 10.0
COMMIT_SECONDS = 10.0
# Outcomes of one entry's records, by their places.
Known = dict[int, Outcome]
# A record and its partition.
Placed = tuple[int, Record]


class KafkaSession(Session):
    """One thread's; that thread alone serves its producers, while it waits."""

    def __init__(self, cluster: Cluster, name: str, is_ours: Callable[[], bool]) -> None:
        self._name = name
        self._is_ours = is_ours
        self._receipts = Receipts(cluster, name)
        # A producer has one codec. All are opened, for an earlier owner may have left a transaction open in any; at the
        # same time, for each waits half a second for its coordinator.
        with ThreadPoolExecutor(len(CODECS)) as pool:
            self._producers = dict(zip(CODECS, pool.map(self._opened, CODECS), strict=True))
        # The codecs whose producers have one record in each batch.
        self._alone: set[str] = set()
        self._check_ownership()

    def _opened(self, codec: str, alone: bool = False) -> Producer:
        """A producer that shuts out those before it; it returns once their transaction is committed or aborted."""
        producer = Producer(properties.transactional(f"{self._name}-{codec}", codec, alone))
        try:
            producer.init_transactions(INIT_SECONDS)
        except KafkaException as error:
            raise errors.of_call(error) from error
        return producer

    def _check_ownership(self) -> None:
        if not self._is_ours():
            raise OutcomeUnknown(f"session {self._name} has another owner")

    def _use(self, codec: str, alone: bool) -> None:
        if alone != (codec in self._alone):
            producer = self._opened(codec, alone)
            self._check_ownership()
            self._producers[codec] = producer
            self._alone ^= {codec}
        self._producer = self._producers[codec]

    def append(self, entries: Sequence[Entry]) -> list[Results]:
        codec = entries[0].writes[0].codec
        self._use(codec, alone=False)
        results = self._attempt(entries, [{} for _ in entries])
        if results is not None:
            return results
        if len(entries) > 1:
            raise RefusedTogether("Kafka refuses a record of one of these requests")
        return [self._append_but_refused(entries[0], codec)]

    def _append_but_refused(self, entry: Entry, codec: str) -> Results:
        """Find the records that Kafka refuses and append the others."""
        deadline = time.monotonic() + REFUSALS_SECONDS
        refused = self._named(entry, deadline)
        results = self._attempt([entry], [_left_out(entry, refused)]) if refused else None
        if results is None:
            self._use(codec, alone=True)
            results = self._attempt([entry], [self._found(entry, refused, deadline)])
        if results is None:
            raise LogUnavailable("Kafka refused records that it had taken before")
        return results[0]

    def _named(self, entry: Entry, deadline: float) -> Known:
        """The records that brokers name as the reason when they refuse a batch for several of its records (KIP-467).

        librdkafka tells them from the rest of the batch, unless one of them is to blame or all. That all are is
        excluded by a good record beside them; that one is, is left for `_found`.
        """
        refused: Known = {}
        good = [(write.partition, Record(b"0", b"0", time.time_ns() // 1_000_000)) for write in entry.writes]
        while time.monotonic() < deadline:
            (delivery,) = self._send_all([entry], [refused], good)
            self._abort()
            known, end = len(refused), 0
            for number, write in enumerate(entry.writes):
                end += len(write.records)
                places = range(end - len(write.records), end)
                if _is_one_batch(write) and any(map(delivery.is_innocent, [*places, _count(entry) + number])):
                    refused |= {index: outcome for index in places if is_final(outcome := delivery.outcomes[index])}
            if len(refused) == known:
                break
        return refused

    def _found(self, entry: Entry, refused: Known, deadline: float) -> Known:
        """The records that are not to be written, found one by one.

        A refusal hides what becomes of the records behind it; the next transaction tells.
        """
        known = refused
        while len(known) < _count(entry) and time.monotonic() < deadline:
            (delivery,) = self._send_all([entry], [known])
            self._abort()
            decided = len(known)
            known = delivery.decided()
            if len(known) == decided:
                raise LogUnavailable("Kafka took none of the records, and refused none")
            if entry.strict and any(map(is_final, known.values())):
                break
        refused = {index: outcome for index, outcome in known.items() if is_final(outcome)}
        undecided = [index for index in range(_count(entry)) if index not in known]
        return _left_out(entry, refused, undecided)

    def _attempt(self, entries: Sequence[Entry], known: Sequence[Known]) -> list[Results] | None:
        """One transaction without the records that are known to be refused; None when it was aborted for others."""
        deliveries = self._send_all(entries, known)
        failures = _failures(deliveries)
        torn = any(map(_is_torn, entries, deliveries))
        if failures or torn or not all(delivery.is_reported for delivery in deliveries):
            self._abort()
            if torn or any(map(is_final, failures)):
                return None
            raise LogUnavailable(f"Kafka did not take the records: {failures[0] if failures else 'no answer'}")
        results = [_results(entry, delivery) for entry, delivery in zip(entries, deliveries, strict=True)]
        self._commit([(entry.key, entry.receipt(result)) for entry, result in zip(entries, results, strict=True)])
        return results

    def _send_all(
        self, entries: Sequence[Entry], known: Sequence[Known], more: Sequence[Placed] = ()
    ) -> list[Delivery]:
        """Begin a transaction with all records but the known ones, and wait for what becomes of these."""
        deliveries = self._begin(entries, known, more)
        if never_left(_failures(deliveries)):
            # librdkafka gave sequence numbers to what an earlier transaction did not send, and sees the gap only now.
            self._abort()
            deliveries = self._begin(entries, known, more)
        return deliveries

    def _begin(self, entries: Sequence[Entry], known: Sequence[Known], more: Sequence[Placed]) -> list[Delivery]:
        try:
            self._producer.begin_transaction()
            deliveries = [
                self._queue(entry.topic, [*_records(entry), *more], one)
                for entry, one in zip(entries, known, strict=True)
            ]
        except KafkaException as error:
            raise _over(error) from error
        self._serve(deliveries)
        return deliveries

    def _queue(self, topic: str, records: Sequence[Placed], known: Known) -> Delivery:
        delivery = Delivery(len(records))
        delivery.expect(send(self._producer, topic, records, delivery, known))
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

    def _commit(self, receipts: list[tuple[str, bytes]]) -> None:
        now_ms = time.time_ns() // 1_000_000
        records = [(self._receipts.partition, Record(key.encode(), receipt, now_ms)) for key, receipt in receipts]
        try:
            delivery = self._queue(RECEIPTS, records, {})
            self._serve([delivery])
            if not all(isinstance(outcome, RecordMetadata) for outcome in delivery.outcomes):
                self._abort()
                raise LogUnavailable(f"Kafka did not take the receipts: {delivery.outcomes[0]}")
            self._producer.commit_transaction(COMMIT_SECONDS)
        except KafkaException as error:
            raise _over(error) from error

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


def _count(entry: Entry) -> int:
    return sum(len(write.records) for write in entry.writes)


def _is_one_batch(write: Write) -> bool:
    """Whether these records surely make a single batch, with one more beside them."""
    framing = 100 * (len(write.records) + 1)
    size = sum(record.size + 10 * len(record.headers) for record in write.records) + framing
    return len(write.records) < properties.BATCH_RECORDS and size < properties.BATCH_BYTES


def _failures(deliveries: Sequence[Delivery]) -> list[LogError]:
    return [failure for delivery in deliveries for failure in delivery.failures()]


def _is_torn(entry: Entry, delivery: Delivery) -> bool:
    """Whether some of a strict entry's records were taken, and others refused before they were sent."""
    taken = sum(isinstance(outcome, RecordMetadata) for outcome in delivery.outcomes)
    return entry.strict and taken > 0 and any(map(is_final, delivery.outcomes))


def _left_out(entry: Entry, refused: Known, undecided: Sequence[int] = ()) -> Known:
    """What is not to be written: the refused records, and those that go with them."""
    if refused and entry.strict:
        return {index: refused.get(index, NotAttempted()) for index in range(_count(entry))}
    late = NotAttempted("too many records before it were refused", retriable=True)
    return refused | dict.fromkeys(undecided, late)


def _results(entry: Entry, delivery: Delivery) -> Results:
    rest = iter(delivery.outcomes)
    results: Results = []
    for write in entry.writes:
        outcomes: list[Outcome] = []
        for _ in write.records:
            outcome = next(rest)
            assert outcome is not None
            outcomes.append(outcome)
        results.append(outcomes)
    return results
