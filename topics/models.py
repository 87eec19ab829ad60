"""Database tables of the embedded log, and of what is known about the topics of a Kafka cluster."""

from collections.abc import Mapping

from django.db import models


class Topic(models.Model):
    name = models.CharField(max_length=249, unique=True)
    retention_ms = models.PositiveBigIntegerField(
        "retention (ms)",
        null=True,
        blank=True,
        help_text="Records older than this are deleted. If empty, records are kept forever.",
    )
    retention_bytes = models.PositiveBigIntegerField(
        "retention (bytes)",
        null=True,
        blank=True,
        help_text="Stored bytes kept in each partition; the oldest are deleted first. If empty, all records are kept.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Partition(models.Model):
    # Deleting a topic leaves its partitions without a topic; housekeeping empties them in small steps.
    topic = models.ForeignKey(Topic, models.SET_NULL, null=True, related_name="partitions")
    number = models.PositiveIntegerField()
    first_offset = models.PositiveBigIntegerField(default=0)
    next_offset = models.PositiveBigIntegerField(default=0)
    stored_bytes = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ["topic", "number"]
        constraints = [
            models.UniqueConstraint(fields=["topic", "number"], name="one_partition_per_number"),
            models.CheckConstraint(
                condition=models.Q(first_offset__lte=models.F("next_offset")), name="first_offset_not_past_next"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.topic}/{self.number}"

    @property
    def record_count(self) -> int:
        """The number of records kept, which the bounds tell because offsets have no gaps."""
        return self.next_offset - self.first_offset


class RecordBatch(models.Model):
    # The unique constraint's index starts with this column.
    partition = models.ForeignKey(Partition, models.PROTECT, related_name="batches", db_index=False)
    base_offset = models.PositiveBigIntegerField()
    record_count = models.PositiveIntegerField()
    codec = models.CharField(max_length=6)
    max_timestamp = models.BigIntegerField()
    stored_bytes = models.PositiveIntegerField()
    payload = models.BinaryField()

    class Meta:
        verbose_name_plural = "record batches"
        constraints = [
            models.UniqueConstraint(fields=["partition", "base_offset"], name="one_batch_per_offset"),
            models.CheckConstraint(condition=models.Q(record_count__gt=0), name="batch_has_records"),
        ]

    def __str__(self) -> str:
        return f"{self.partition_id}@{self.base_offset}+{self.record_count}"


class WriteTrial(models.Model):
    """A row that is written and deleted to test whether the database is writable.

    See topics/log/embedded/writability.py.
    """

    filler = models.BinaryField()

    def __str__(self) -> str:
        return f"{len(self.filler)} bytes"


class KnownTopicQuerySet(models.QuerySet["KnownTopic"]):
    def replace(self, counts: Mapping[str, int]) -> None:
        """Store exactly these topics with their numbers of partitions. Run it in a transaction."""
        before = dict(self.values_list("name", "partitions"))
        changed = [
            KnownTopic(name=name, partitions=count) for name, count in counts.items() if before.get(name) != count
        ]
        self.bulk_create(changed, update_conflicts=True, unique_fields=["name"], update_fields=["partitions"])
        self.filter(name__in=before.keys() - counts.keys()).delete()


class KnownTopic(models.Model):
    """A topic of a Kafka cluster as it was last seen, for servers that start while the cluster is away."""

    name = models.CharField(max_length=249, primary_key=True)
    partitions = models.PositiveIntegerField()

    objects = KnownTopicQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name
