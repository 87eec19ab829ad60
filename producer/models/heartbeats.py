"""Signs of life of workers, so that others see when there is none."""

from datetime import timedelta

from django.db import models
from django.db.models.functions import Now

# A worker beats every ten seconds.
ALIVE = timedelta(seconds=45)
KEPT = timedelta(days=1)


class HeartbeatQuerySet(models.QuerySet["Heartbeat"]):
    def beat(self, name: str) -> None:
        if not self.filter(pk=name).update(seen_at=Now()):
            self.create(name=name, seen_at=Now(), started_at=Now())

    def alive(self) -> "HeartbeatQuerySet":
        return self.filter(seen_at__gt=Now() - ALIVE)

    def purge(self) -> None:
        self.filter(seen_at__lt=Now() - KEPT).delete()


class Heartbeat(models.Model):
    """When a worker was last seen. `name` has its host and process id."""

    name = models.CharField(primary_key=True, max_length=100)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()

    objects = HeartbeatQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
