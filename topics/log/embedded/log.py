"""Store the log in the database: one row per record batch, with offsets claimed in the appending transaction."""

from collections.abc import Collection, Sequence
from operator import attrgetter
from typing import Any

import structlog
from django.db import IntegrityError, connection

from core import turns
from core.database import transactions
from core.errors import OutcomeUnknown, StorageUnavailable
from topics.log import batches, current_log
from topics.log.contract import AppendRequest, Bookkeeping, Log, T, as_is
from topics.log.embedded import reading, retention, writability
from topics.log.embedded.appends import Append, Batch
from topics.log.embedded.partition_ids import PartitionIds
from topics.log.embedded.verified import VerifiedBatches
from topics.log.errors import CorruptRecord, LogRefused, TopicExists, TopicNotFound
from topics.log.measures import PLAIN_BYTES, STORED_BYTES
from topics.log.records import (
    DEFAULT_CONFIG,
    PartitionInfo,
    StoredRecord,
    TopicConfig,
    TopicInfo,
    Write,
)
from topics.log.validation import (
    check_config,
    check_partition,
    check_replicas,
    fewer_partitions,
    is_topic_name,
    resolve_offset,
    validate_topic,
    within_bytes,
)
from topics.models import Partition, Topic

log = structlog.get_logger("takhin.log")
# Reads each table from the root page down to where rows are added, and the index of offsets.
_TOUCHED_BY_APPEND = (
    "SELECT name FROM topics_topic ORDER BY id DESC LIMIT 1",
    "SELECT next_offset FROM topics_partition ORDER BY id DESC LIMIT 1",
    "SELECT base_offset FROM topics_recordbatch ORDER BY id DESC LIMIT 1",
    "SELECT base_offset FROM topics_recordbatch ORDER BY partition_id DESC, base_offset DESC LIMIT 1",
)


class EmbeddedLog(Log):
    supports_transactions = True
    fits_lane = True
    supports_retention = True

    def __init__(self) -> None:
        self._partition_ids = PartitionIds()
        self._verified = VerifiedBatches()

    def append(
        self,
        writes: Sequence[Write],
        bookkeeping: Bookkeeping[T] = as_is,  # type: ignore[assignment]
        seconds: float | None = None,
        request_id: str | None = None,
        *,
        may_save_later: bool = False,
    ) -> T:
        try:
            return self._append(writes, bookkeeping, seconds)
        except TopicNotFound:
            # The topic may have been deleted and recreated since its partitions were cached.
            if not [topic for topic in {write.topic for write in writes} if self._partition_ids.forget(topic)]:
                raise
            return self._append(writes, bookkeeping, seconds)

    def append_each(self, requests: Sequence[AppendRequest]) -> list[Any]:
        results: dict[int, Any] = {}
        jobs: dict[int, Append] = {}
        for index, request in enumerate(requests):
            try:
                jobs[index] = self._prepared(request.writes, request.bookkeeping)
            except (LogRefused, StorageUnavailable) as error:
                results[index] = error
        results |= zip(jobs, transactions.commit_each(list(jobs.values())), strict=True)
        for index, job in jobs.items():
            if not isinstance(results[index], Exception):
                _count(job)
        for index, request in enumerate(requests):
            if isinstance(results[index], TopicNotFound):
                # The topic may have been deleted and recreated since its partitions were cached.
                results[index] = self._append_one(request)
        return [results[index] for index in range(len(requests))]

    def _append(self, writes: Sequence[Write], bookkeeping: Bookkeeping[T], seconds: float | None) -> T:
        append = self._prepared(writes, bookkeeping)
        result: T = transactions.commit(append, seconds)
        _count(append)
        return result

    def _prepared(self, writes: Sequence[Write], bookkeeping: Bookkeeping[Any]) -> Append:
        """Raises TopicNotFound, UnknownPartition."""
        prepared: list[Batch] = []
        for write in writes:
            ids = self._partition_ids.of(write.topic)
            check_partition(write.partition, len(ids))
            prepared.append(_batch(ids[write.partition], write))
            turns.give_way()
        return Append(prepared, bookkeeping)

    def partition_count(self, topic: str) -> int:
        return len(self._partition_ids.of(topic))

    def topic_names(self) -> list[str]:
        with transactions.translated():
            return list(Topic.objects.values_list("name", flat=True))

    def topics(self, names: Collection[str] | None = None) -> list[TopicInfo]:
        found = Topic.objects.all() if names is None else Topic.objects.filter(name__in=names)
        with transactions.translated():
            return [_info(topic) for topic in found.prefetch_related("partitions")]

    def topic(self, name: str) -> TopicInfo:
        if not is_topic_name(name):
            raise TopicNotFound(name)
        with transactions.translated():
            found = Topic.objects.prefetch_related("partitions").filter(name=name).first()
        if found is None:
            raise TopicNotFound(name)
        return _info(found)

    def create_topic(
        self,
        name: str,
        partitions: int,
        config: TopicConfig = DEFAULT_CONFIG,
        replication_factor: int | None = None,
    ) -> TopicInfo:
        validate_topic(name, partitions)
        check_replicas(replication_factor)
        check_config(config)

        def job() -> None:
            topic = Topic.objects.create(name=name, **_columns(config))
            Partition.objects.bulk_create(Partition(topic=topic, number=number) for number in range(partitions))

        try:
            transactions.commit(job)
        except IntegrityError:
            raise TopicExists(name) from None
        return self.topic(name)

    def configure_topic(self, name: str, config: TopicConfig) -> TopicInfo:
        check_config(config)

        def job() -> None:
            if not Topic.objects.filter(name=name).update(**_columns(config)):
                raise TopicNotFound(name)

        transactions.commit(job)
        return self.topic(name)

    def add_partitions(self, name: str, count: int) -> TopicInfo:
        validate_topic(name, count)

        def job() -> None:
            topic = Topic.objects.select_for_update().filter(name=name).first()
            if topic is None:
                raise TopicNotFound(name)
            before = topic.partitions.count()
            if count < before:
                raise fewer_partitions(name, before, count)
            Partition.objects.bulk_create(Partition(topic=topic, number=number) for number in range(before, count))

        transactions.commit(job)
        self._partition_ids.forget(name)
        return self.topic(name)

    def delete_topic(self, name: str) -> None:
        def job() -> None:
            # Lock in the same order as appends; the delete alone would lock in any order.
            list(Partition.objects.filter(topic__name=name).order_by("id").select_for_update())
            deleted, _ = Topic.objects.filter(name=name).delete()
            if not deleted:
                raise TopicNotFound(name)

        self._partition_ids.forget(name)
        transactions.commit(job)
        # The topic is deleted even if its records are not yet: with an error, the client would retry in vain.
        try:
            with transactions.translated():
                retention.delete_orphans()
        except (StorageUnavailable, OutcomeUnknown) as error:
            log.warning("deletion_left_to_housekeeping", topic=name, error=str(error))

    def read(self, topic: str, partition: int, offset: int | None, limit: int) -> list[StoredRecord]:
        check_partition(partition, self.partition_count(topic))
        with transactions.translated():
            bounds = reading.bounds(topic, partition)
            start = resolve_offset(offset, bounds.first_offset, bounds.next_offset)
            try:
                return within_bytes(reading.read(topic, bounds, start, limit, self._verified))
            except CorruptRecord:
                # Retention may have deleted the records meanwhile.
                if reading.bounds(topic, partition).first_offset == bounds.first_offset:
                    raise
        return self.read(topic, partition, offset, limit)

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        check_partition(partition, self.partition_count(topic))
        with transactions.translated():
            return reading.offset_at(topic, reading.bounds(topic, partition), timestamp_ms, self._verified)

    def enforce_retention(self, now_ms: int) -> int:
        with transactions.translated():
            return retention.delete_orphans() + retention.enforce(now_ms)

    def check(self) -> None:
        """Raise StorageUnavailable if the pages that an append reads cannot be read, or nothing can be written."""
        with transactions.translated(), connection.cursor() as cursor:
            for statement in _TOUCHED_BY_APPEND:
                cursor.execute(statement)
                cursor.fetchall()
        writability.check()


def _batch(partition_id: int, write: Write) -> Batch:
    """Do as much work as possible before the transaction, which blocks all other writers."""
    max_timestamp = max(map(attrgetter("timestamp"), write.records))
    plain = batches.build(write.records)
    return Batch(partition_id, write, batches.compress(plain, write.codec), max_timestamp, len(plain))


def _count(append: Append) -> None:
    for batch in append.batches:
        PLAIN_BYTES.add(batch.write.codec, amount=batch.plain_bytes)
        STORED_BYTES.add(batch.write.codec, amount=len(batch.payload))


def _columns(config: TopicConfig) -> dict[str, int | None]:
    return {"retention_ms": config.retention_ms, "retention_bytes": config.retention_bytes}


def _info(topic: Topic) -> TopicInfo:
    bounds = [PartitionInfo(row.number, row.first_offset, row.next_offset) for row in topic.partitions.all()]
    return TopicInfo(topic.name, bounds, TopicConfig(topic.retention_ms, topic.retention_bytes))


def is_embedded() -> bool:
    """Tell whether the current log is the embedded one, whose tables the models describe."""
    return isinstance(current_log(), EmbeddedLog)
