"""Delete what the embedded log no longer keeps, oldest batches first, a few in each commit."""

from django.db.models import QuerySet, Sum

from topics import commits
from topics.models import Partition, RecordBatch

# Small enough that no delete holds the writer for long.
DELETE_STEP = 500


def enforce(now_ms: int) -> int:
    """Delete what no topic's retention keeps any longer; returns the number of records deleted."""
    return sum(_expire(row, now_ms) for row in Partition.objects.filter(topic__isnull=False).select_related("topic"))


def delete_orphans() -> int:
    """Empty and delete the partitions that deleted topics left behind; returns the number of records deleted."""
    deleted = 0
    for partition in Partition.objects.filter(topic__isnull=True):
        deleted += _delete_batches(partition.batches.all(), partition)
        commits.run(partition.delete)
    return deleted


def _expire(partition: Partition, now_ms: int) -> int:
    """Delete a partition's oldest batches that neither retention keeps; as in Kafka, never past a batch to keep."""
    topic = partition.topic
    assert topic is not None
    deleted = 0
    if topic.retention_ms is not None:
        first_kept = partition.batches.filter(max_timestamp__gte=now_ms - topic.retention_ms).order_by("base_offset")
        deleted += _delete_before(partition, first_kept)
        partition.refresh_from_db()
    if topic.retention_bytes is not None:
        excess = partition.stored_bytes - topic.retention_bytes
        deleted += _delete_excess(partition, excess)
    return deleted


def _delete_before(partition: Partition, first_kept: QuerySet[RecordBatch]) -> int:
    kept = first_kept.values_list("base_offset", flat=True).first()
    end = partition.next_offset if kept is None else kept
    return _delete_batches(partition.batches.filter(base_offset__lt=end), partition)


def _delete_excess(partition: Partition, excess: int) -> int:
    end = partition.first_offset
    sizes = partition.batches.order_by("base_offset").values_list("base_offset", "record_count", "stored_bytes")
    for base, count, size in sizes.iterator(chunk_size=DELETE_STEP):
        if size > excess:
            break
        excess -= size
        end = base + count
    return _delete_batches(partition.batches.filter(base_offset__lt=end), partition)


def _delete_batches(doomed: QuerySet[RecordBatch], partition: Partition) -> int:
    """Delete batches, oldest first, in steps of their own commit; returns the number of records deleted."""
    deleted = 0

    def step() -> int:
        rows = list(doomed.order_by("base_offset").values_list("pk", "base_offset", "record_count")[:DELETE_STEP])
        if not rows:
            return 0
        chosen = RecordBatch.objects.filter(pk__in=[pk for pk, _, _ in rows])
        freed = chosen.aggregate(size=Sum("stored_bytes"))["size"]
        chosen.delete()
        current = Partition.objects.select_for_update().get(pk=partition.pk)
        current.first_offset = rows[-1][1] + rows[-1][2]
        current.stored_bytes -= freed
        current.save(update_fields=["first_offset", "stored_bytes"])
        return sum(count for _, _, count in rows)

    while count := commits.run(step):
        deleted += count
    return deleted
