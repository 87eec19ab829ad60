"""Append several requests and their receipts in one Kafka transaction, and find the receipts after a crash.

If a broker rejects a record, the whole transaction fails. The session then finds the rejected records, and writes the
others.
"""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from core.errors import OutcomeUnknown, StorageError, StorageUnavailable
from topics.log.compression import CODECS
from topics.log.contract import Entry, RefusedTogether, Results, Session, SessionStuck
from topics.log.kafka.administration import PartitionKey
from topics.log.kafka.cluster import RECEIPTS, Cluster
from topics.log.kafka.producers import Delivery, DeliveryResult
from topics.log.kafka.receipts import Receipts
from topics.log.kafka.refusals import RefusalSearch, not_taken, placed_of
from topics.log.kafka.transactions import SILENT_SECONDS, TransactionalProducer
from topics.log.records import Record

# Other requests wait while the session looks for the rejected records of one request.
REFUSALS_SECONDS = 10.0
# How long a partition's leader may take to answer before records are sent to it again.
PROBE_SECONDS = 1.0


class KafkaSession(Session):
    """A session of one thread. Only that thread polls the session's producers, while it waits."""

    def __init__(self, cluster: Cluster, name: str, is_ours: Callable[[], bool]) -> None:
        self._cluster = cluster
        self._receipts = Receipts(cluster, name)
        # Each producer has one codec. Open all, because an earlier owner may have left a transaction open in any of
        # them; open them concurrently, because each waits half a second for its coordinator.
        with ThreadPoolExecutor(len(CODECS)) as pool:
            opened = pool.map(lambda codec: TransactionalProducer(name, codec), CODECS)
            self._producers = dict(zip(CODECS, opened, strict=True))
        if not is_ours():
            raise OutcomeUnknown(f"session {name} has another owner")

    def append(self, entries: Sequence[Entry]) -> list[Results]:
        self._check_partitions(entries)
        producer = self._producers[entries[0].writes[0].codec]
        began = time.monotonic()
        deliveries = producer.send([placed_of(entry) for entry in entries])
        if all(delivery.is_taken for delivery in deliveries):
            self._note_taken(entries)
            return self._commit(producer, entries, [delivery.outcomes for delivery in deliveries])
        self._leave_if_silent(entries, deliveries, began)
        producer.abort()
        if not any(delivery.is_refused for delivery in deliveries):
            raise not_taken(deliveries)
        if len(entries) > 1:
            raise RefusedTogether("Kafka rejects a record of one of these requests")
        return [self._append_accepted(producer, entries[0])]

    def _check_partitions(self, entries: Sequence[Entry]) -> None:
        """Keep a partition that has failed before away from others, and try it only if its leader answers.

        A transaction with a partition that cannot be written stays open, and blocks its session's name. Raises
        RefusedTogether, StorageUnavailable.
        """
        partitions = self._cluster.transactional
        failing = [place for place in _places(entries) if partitions.is_failing(place)]
        if failing and len(entries) > 1:
            raise RefusedTogether("a partition of one of these requests has failed before")
        for place in failing:
            if (error := partitions.admit(place, 2 * SILENT_SECONDS)) is not None:
                raise error
            began = time.monotonic()
            try:
                self._cluster.administration.bounds([place], PROBE_SECONDS)
            except StorageError:
                partitions.failed(place, began)
                raise

    def _note_taken(self, entries: Sequence[Entry]) -> None:
        self._cluster.breaker.acknowledged()
        for place in _places(entries):
            self._cluster.transactional.succeeded(place)

    def _leave_if_silent(self, entries: Sequence[Entry], deliveries: Sequence[Delivery], sent_at: float) -> None:
        """Note the partitions that did not acknowledge their records. Raises SessionStuck if there are any.

        The coordinator cannot end the transaction before it can write to each partition, and until then the name is
        blocked. Nobody commits it, because only this producer could. If a record was rejected, those behind it were not
        sent, and that tells nothing.
        """
        if any(delivery.is_refused for delivery in deliveries):
            return
        silent: set[PartitionKey] = set()
        for entry, delivery in zip(entries, deliveries, strict=True):
            records = placed_of(entry)
            silent |= {records[index][:2] for index in delivery.silent()}
        for place in silent:
            self._cluster.transactional.failed(place, sent_at)
        if silent:
            topic, number = min(silent)
            raise SessionStuck(f"partition {number} of topic {topic!r} did not acknowledge records of a transaction")

    def _append_accepted(self, producer: TransactionalProducer, entry: Entry) -> Results:
        """Find the records that Kafka rejects and append the others; append none if the entry is strict."""
        search = RefusalSearch(producer, entry, REFUSALS_SECONDS)
        search.run()
        deliveries = producer.send(*[[records] for records in search.accepted_records()])
        if len(deliveries) < len(search.accepted) or not all(delivery.is_taken for delivery in deliveries):
            producer.abort()
            raise StorageUnavailable("Kafka rejected records that it had accepted before")
        outcomes = search.outcomes([delivery.outcomes for delivery in deliveries])
        return self._commit(producer, [entry], [outcomes])[0]

    def _commit(
        self,
        producer: TransactionalProducer,
        entries: Sequence[Entry],
        outcomes: Sequence[Sequence[DeliveryResult | None]],
    ) -> list[Results]:
        results = [_results(entry, one) for entry, one in zip(entries, outcomes, strict=True)]
        now_ms = time.time_ns() // 1_000_000
        receipts = [
            (RECEIPTS, self._receipts.partition, Record(entry.key.encode(), entry.receipt(result), now_ms))
            for entry, result in zip(entries, results, strict=True)
        ]
        producer.commit(receipts)
        return results

    def receipts(self, keys: Sequence[str], since_ms: int) -> dict[str, bytes]:
        return self._receipts.find(keys, since_ms)

    def close(self) -> None:
        # In threads, because a transaction that cannot be ended makes them wait.
        for producer in self._producers.values():
            threading.Thread(target=producer.close, name="takhin-kafka-close", daemon=True).start()


def _places(entries: Sequence[Entry]) -> set[PartitionKey]:
    return {(write.topic, write.partition) for entry in entries for write in entry.writes}


def _results(entry: Entry, outcomes: Sequence[DeliveryResult | None]) -> Results:
    rest = iter(outcomes)
    results: Results = []
    for write in entry.writes:
        taken = list(itertools.islice(rest, len(write.records)))
        results.append([outcome for outcome in taken if outcome is not None])
        assert len(results[-1]) == len(taken)
    return results
