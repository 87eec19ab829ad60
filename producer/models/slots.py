"""Slots: the names under which workers open sessions on a log. One worker holds a slot at a time."""

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

# Longer than a session's transaction may stay open, so that nobody takes a slot over before its transaction ends.
SLOT_LEASE = timedelta(seconds=30)


class WorkerSlotQuerySet(models.QuerySet["WorkerSlot"]):
    def free(self) -> Self:
        """Slots that nobody holds, or whose lease has expired by the database's clock, or is longer than any.

        The latter happens if that clock was set back. The owner would otherwise keep the slot until it is right again.
        """
        return self.filter(Q(lease_until=None) | Q(lease_until__lte=Now()) | Q(lease_until__gt=Now() + 2 * SLOT_LEASE))

    def take(self, owner: str, number: int | None = None, avoided: Sequence[int] = ()) -> "WorkerSlot | None":
        """Lease the free slot `number`, or else the first free one not `avoided`, creating it if there is none.

        Return None if the requested slot is not free. Run it in a transaction.
        """
        free = self.free().exclude(number__in=avoided).order_by("number").select_for_update(skip_locked=True)
        slot = (free if number is None else free.filter(number=number)).first()
        if slot is None and number is None:
            last = self.order_by("-number").values_list("number", flat=True).first()
            slot = WorkerSlot(number=0 if last is None else last + 1, name=f"takhin-{uuid.uuid4().hex[:16]}")
            slot.save(force_insert=True)
        if slot is not None:
            self.filter(pk=slot.pk).update(owner=owner, lease_until=Now() + SLOT_LEASE)
            slot.owner = owner
        return slot


class WorkerSlot(models.Model):
    """A slot. `name` names the session and is Kafka's transactional id.

    The name stays with the slot, which fences an owner that was presumed dead.
    """

    number = models.PositiveIntegerField(primary_key=True)
    name = models.CharField(max_length=64, unique=True)
    owner = models.CharField(max_length=64, default="")
    lease_until = models.DateTimeField(null=True)

    objects = WorkerSlotQuerySet.as_manager()

    class Meta:
        ordering = ["number"]

    def __str__(self) -> str:
        return self.name

    def renew(self) -> bool:
        """Extend the lease. Return whether this worker still held the slot."""
        return bool(self._mine().update(lease_until=Now() + SLOT_LEASE))

    def release(self) -> None:
        self._mine().update(owner="", lease_until=None)

    def _mine(self) -> WorkerSlotQuerySet:
        return WorkerSlot.objects.filter(pk=self.pk, owner=self.owner)
