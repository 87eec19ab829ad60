"""Tables of what happened: the audit log, the last rejections, and sums for the dashboard."""

from typing import Any, NoReturn

import msgspec
from django.db import models


class AuditQuerySet(models.QuerySet["AuditEntry"]):
    def update(self, **kwargs: Any) -> NoReturn:
        raise TypeError("the audit log is append-only")

    def delete(self) -> NoReturn:
        raise TypeError("the audit log is append-only")

    def purge(self) -> int:
        """Delete these entries, which have outlived TAKHIN_AUDIT_TTL."""
        return int(self._raw_delete(self.db) or 0)


class AuditEntry(models.Model):
    """Who did what to which object, from where, and how that ended.

    `event` is the name of the log event that was written with it. `details` is JSON and never has the content of
    records. `request_id` is the X-Request-Id.
    """

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    event = models.CharField(max_length=40)
    actor = models.CharField("who", max_length=170)
    client = models.CharField("from", max_length=64, blank=True)
    kind = models.CharField(max_length=20)
    name = models.CharField("object", max_length=255, blank=True)
    outcome = models.CharField(max_length=20, default="ok")
    details = models.TextField(blank=True)
    request_id = models.CharField("X-Request-Id", max_length=128, blank=True)

    objects = AuditQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "audit entries"
        indexes = [models.Index(fields=["kind", "name", "id"], name="audit_by_object")]

    def __str__(self) -> str:
        return f"{self.event} {self.name}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk is not None:
            raise TypeError("the audit log is append-only")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("the audit log is append-only")

    def read_details(self) -> dict[str, Any]:
        return msgspec.json.decode(self.details) if self.details else {}


class Rejection(models.Model):
    """One of the last requests that were rejected with a 4xx. `key` is the prefix of its API key."""

    at = models.DateTimeField()
    status = models.PositiveSmallIntegerField()
    code = models.CharField(max_length=64)
    detail = models.TextField()
    method = models.CharField(max_length=16)
    path = models.CharField(max_length=500)
    topic = models.CharField(max_length=249)
    key = models.CharField(max_length=16)
    client = models.CharField("from", max_length=64)
    request_id = models.CharField("X-Request-Id", max_length=128, db_index=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.status} {self.code}"


class Rollup(models.Model):
    """A count over `step` minutes, beginning with `minute`, in minutes since 1970.

    `metric` is requests, records, bytes, stored or latency. `label` is a code, an outcome, a form or a bucket.
    """

    step = models.PositiveSmallIntegerField()
    minute = models.PositiveIntegerField()
    metric = models.CharField(max_length=16)
    topic = models.CharField(max_length=249)
    label = models.CharField(max_length=64)
    value = models.FloatField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["step", "metric", "topic", "minute", "label"], name="one_rollup"),
        ]

    def __str__(self) -> str:
        return f"{self.metric} {self.topic} {self.label}"
