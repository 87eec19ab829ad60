"""Write several requests and their receipts in one Kafka transaction, and find the receipts after a crash.

A transactional id belongs to a session's name: a new session of that name fences the one before (KIP-98, KIP-360).
librdkafka lacks KIP-890, so that a late answer may decide a later transaction; hence nothing is ever asked again of a
producer whose commit or abort is in doubt: it is thrown away, and a new one reads what was decided.

A broker's refusal ends the whole transaction. Which records it meant is found out by transactions with one record in
each batch, which are all aborted; then the others are written.
"""

import time
import zlib
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaException, Producer

from topics.backends.base import Entry, Results, Session
from topics.backends.kafka import errors, properties
from topics.backends.kafka.cluster import RECEIPTS, Cluster
from topics.backends.kafka.producers import Delivery, Outcome, is_final, send
from topics.compression import CODECS
from topics.errors import LogError, LogUnavailable, OutcomeUnknown, TopicExists
from topics.records import Record, RecordMetadata

INIT_SECONDS = 10.0
# Longer than a delivery may take, so that every record is reported.
FLUSH_SECONDS = 10.0
COMMIT_SECONDS = 10.0
# Longer than any transaction may stay open.
DECIDED_SECONDS = 25.0
RECEIPT_PARTITIONS = 16
RECEIPT_CONFIG = {"cleanup.policy": "delete", "retention.ms": str(7 * 24 * 3600 * 1000)}
# Outcomes of one entry's records, by their places.
Known = dict[int, Outcome]


class KafkaSession(Session):
    """One thread's; that thread alone serves its producers, while it waits."""

    def __init__(self, cluster: Cluster, name: str, is_ours: Callable[[], bool]) -> None:
        self._cluster = cluster
        self._name = name
        self._is_ours = is_ours
        self._partition = zlib.crc32(name.encode()) % _receipt_partitions(cluster)
        # A producer has one codec. All are opened, for an earlier owner may have left a transaction open in any.
        self._producers = {codec: self._opened(codec) for codec in CODECS}
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
        if results is None:
            self._use(codec, alone=True)
            results = self._attempt(entries, self._refusals(entries))
        if results is None:
            raise LogUnavailable("Kafka refused records that it had taken before")
        return results

    def _attempt(self, entries: Sequence[Entry], known: Sequence[Known]) -> list[Results] | None:
        """One transaction without the records that are known to be refused; None when it was aborted for others."""
        deliveries, late = self._send_all(entries, known)
        failures = [outcome for delivery in deliveries for outcome in delivery.failures()]
        if late or failures:
            self._abort()
            if any(is_final(failure) for failure in failures):
                return None
            raise LogUnavailable(f"Kafka did not take the records: {failures[0] if failures else 'no answer'}")
        results = [_results(entry, delivery) for entry, delivery in zip(entries, deliveries, strict=True)]
        self._commit([(entry.key, entry.receipt(result)) for entry, result in zip(entries, results, strict=True)])
        return results

    def _refusals(self, entries: Sequence[Entry]) -> list[Known]:
        """Each entry's records that are refused for their own sake.

        A refusal hides what becomes of the records behind it; the next transaction tells.
        """
        known: list[Known] = [{} for _ in entries]
        total = sum(len(write.records) for entry in entries for write in entry.writes)
        while (decided := sum(map(len, known))) < total:
            deliveries, _ = self._send_all(entries, known)
            self._abort()
            known = [delivery.decided() for delivery in deliveries]
            if sum(map(len, known)) == decided:
                raise LogUnavailable("Kafka took none of the records, and refused none")
        return [{index: outcome for index, outcome in one.items() if is_final(outcome)} for one in known]

    def _send_all(self, entries: Sequence[Entry], known: Sequence[Known]) -> tuple[list[Delivery], int]:
        """Begin a transaction with all records but the known ones; also returns how many are not reported yet."""
        try:
            self._producer.begin_transaction()
            deliveries = [self._send(entry, one) for entry, one in zip(entries, known, strict=True)]
            return deliveries, self._producer.flush(FLUSH_SECONDS)
        except KafkaException as error:
            raise _over(error) from error

    def _send(self, entry: Entry, known: Known) -> Delivery:
        records: list[tuple[int, Record]] = [
            (write.partition, record) for write in entry.writes for record in write.records
        ]
        delivery = Delivery(len(records))
        send(self._producer, entry.topic, records, delivery, known)
        return delivery

    def _commit(self, receipts: list[tuple[str, bytes]]) -> None:
        now_ms = time.time_ns() // 1_000_000
        records = [(self._partition, Record(key.encode(), receipt, now_ms)) for key, receipt in receipts]
        delivery = Delivery(len(records))
        try:
            send(self._producer, RECEIPTS, records, delivery)
            late = self._producer.flush(FLUSH_SECONDS)
            if late or not all(isinstance(outcome, RecordMetadata) for outcome in delivery.outcomes):
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
        administration, reader = self._cluster.administration, self._cluster.reader
        end = administration.bounds_of(RECEIPTS, self._partition).high_watermark
        deadline = time.monotonic() + DECIDED_SECONDS
        # Another session's open transaction in this partition hides what was committed after it.
        while administration.stable_end(RECEIPTS, self._partition) < end:
            if time.monotonic() > deadline:
                raise LogUnavailable("a transaction of another worker stays undecided")
            time.sleep(0.2)
        start = reader.offset_at(RECEIPTS, self._partition, since_ms)
        wanted = {key.encode() for key in keys}
        found: dict[str, bytes] = {}
        while start is not None and start < end:
            records = reader.read(RECEIPTS, self._partition, start, end, 1000)
            if not records:
                break
            found |= {
                record.key.decode(): record.value or b"" for record in records if record.key and record.key in wanted
            }
            start = records[-1].offset + 1
        return found

    def close(self) -> None:
        for producer in self._producers.values():
            # Records of a transaction in doubt must not leave any more.
            producer.purge()


def _over(error: KafkaException) -> OutcomeUnknown:
    kafka = errors.of(error)
    return OutcomeUnknown(f"the transaction was not decided ({kafka.name()}: {kafka.str()})")


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


def _receipt_partitions(cluster: Cluster) -> int:
    """The number of partitions of the topic of receipts, which is made when it is missing. Raises LogUnavailable."""
    count = cluster.watch.count_of_hidden(RECEIPTS)
    if count is not None:
        return count
    brokers = cluster.watch.broker_count
    config = {**RECEIPT_CONFIG, **({"min.insync.replicas": "2"} if brokers >= 3 else {})}
    try:
        cluster.administration.create(RECEIPTS, RECEIPT_PARTITIONS, min(3, max(1, brokers)), config)
    except TopicExists:
        pass
    except LogError as error:
        raise LogUnavailable(f"topic {RECEIPTS} cannot be made: {error}") from error
    for _ in range(50):
        cluster.watch.refresh(1)
        count = cluster.watch.count_of_hidden(RECEIPTS)
        if count is not None:
            return count
        time.sleep(0.1)
    raise LogUnavailable(f"the Kafka cluster does not show topic {RECEIPTS} yet")
