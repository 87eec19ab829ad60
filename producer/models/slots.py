"""Slots: the names under which workers open sessions on a log, each held by one worker at a time."""

import uuid
from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

# Longer than a session's transaction may stay open, so that a slot is never taken over before that has ended.
SLOT_LEASE = timedelta(seconds=30)


class WorkerSlotQuerySet(models.QuerySet["WorkerSlot"]):
    def free(self) -> Self:
        """Held by nobody, or by a worker that has not renewed in time, by the database's own clock."""
        return self.filter(Q(lease_until=None) | Q(lease_until__lte=Now()))

    def take(self, owner: str, number: int | None = None) -> "WorkerSlot | None":
        """Lease this free slot, or the first free one, made where there is none; run it in a transaction.

        None when the slot asked for is not free.
        """
        free = self.free().order_by("number").select_for_update(skip_locked=True)
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
    """`name` is the session's, and Kafka's transactional id: it stays with the slot, so that an owner that was thought
    dead is fenced.
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
        """Hold the slot for another lease; whether it was still held."""
        return bool(self._mine().update(lease_until=Now() + SLOT_LEASE))

    def release(self) -> None:
        self._mine().update(owner="", lease_until=None)

    def _mine(self) -> WorkerSlotQuerySet:
        return WorkerSlot.objects.filter(pk=self.pk, owner=self.owner)
