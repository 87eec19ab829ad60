"""Delete expired records of the embedded log, oldest batches first, a few in each commit."""

from collections.abc import Callable, Iterable, Iterator

from core.database import transactions
from topics.models import Partition, RecordBatch

# Small enough that no delete blocks the writer for long.
DELETE_STEP = 500

# Tells whether a batch may be deleted, given the bytes its partition stores, including the batch.
MayGo = Callable[[RecordBatch, int], bool]


def enforce(now_ms: int) -> int:
    """Delete records that have outlived their topic's retention; return the number of deleted records."""
    return sum(_expire(row, now_ms) for row in Partition.objects.filter(topic__isnull=False).select_related("topic"))


def delete_orphans() -> int:
    """Empty and delete the partitions that deleted topics left behind; return the number of deleted records."""
    deleted = 0
    for partition in Partition.objects.filter(topic__isnull=True):
        deleted += _delete_oldest(partition, lambda batch, stored: True)
        transactions.commit(partition.delete)
    return deleted


def _expire(partition: Partition, now_ms: int) -> int:
    """Delete a partition's oldest batches that exceed a retention limit; as in Kafka, stop at the first one to keep."""
    topic = partition.topic
    assert topic is not None
    age, size = topic.retention_ms, topic.retention_bytes
    if age is None and size is None:
        return 0

    def may_go(batch: RecordBatch, stored: int) -> bool:
        is_old = age is not None and batch.max_timestamp < now_ms - age
        return is_old or (size is not None and stored - batch.stored_bytes >= size)

    return _delete_oldest(partition, may_go)


def _delete_oldest(partition: Partition, may_go: MayGo) -> int:
    """Delete a partition's batches, oldest first, while `may_go` allows it; return the number of deleted records."""
    deleted = 0

    def step() -> int:
        # Lock before deciding anything, because another process may do the same housekeeping.
        current = Partition.objects.select_for_update().filter(pk=partition.pk).order_by("id").first()
        if current is None:
            return 0
        oldest = current.batches.defer("payload").order_by("base_offset")[:DELETE_STEP]
        doomed = list(_doomed(oldest, current.stored_bytes, may_go))
        if not doomed:
            return 0
        RecordBatch.objects.filter(pk__in=[batch.pk for batch in doomed]).delete()
        current.first_offset = doomed[-1].base_offset + doomed[-1].record_count
        current.stored_bytes -= sum(batch.stored_bytes for batch in doomed)
        current.save(update_fields=["first_offset", "stored_bytes"])
        return sum(batch.record_count for batch in doomed)

    while count := transactions.commit(step):
        deleted += count
    return deleted


def _doomed(oldest: Iterable[RecordBatch], stored: int, may_go: MayGo) -> Iterator[RecordBatch]:
    for batch in oldest:
        if not may_go(batch, stored):
            return
        stored -= batch.stored_bytes
        yield batch
