"""Retries and cancellations of many requests, which run in the background."""

import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import msgspec
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from producer.models.outcomes import pack, unpack

# How long a process may take for one step before another one goes on.
STEP_LEASE = timedelta(seconds=30)


class BulkAction(models.TextChoices):
    RETRY = "retry", "Retry"
    CANCEL = "cancel", "Cancel"


class BulkChange(models.Model):
    """One change of many requests. `ids` are theirs, and the first `done` of them have been looked at.

    `skipped` says, as JSON, why how many were left as they are.
    """

    action = models.CharField(max_length=6, choices=BulkAction.choices)
    user = models.CharField(max_length=150)
    ids = models.BinaryField()
    total = models.PositiveIntegerField()
    done = models.PositiveIntegerField(default=0)
    changed = models.PositiveIntegerField(default=0)
    skipped = models.TextField(default="{}")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)
    owner = models.CharField(max_length=32, default="")
    lease_until = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.get_action_display()} of {self.total:,} requests"

    def read_ids(self) -> list[str]:
        return unpack(self.ids).decode().split()

    def read_skipped(self) -> dict[str, int]:
        return msgspec.json.decode(self.skipped, type=dict[str, int])

    def claim(self) -> str:
        """Become the process that makes the next steps. Return its name, or "" if another one is.

        Run it in a transaction.
        """
        owner = uuid.uuid4().hex
        free = Q(lease_until=None) | Q(lease_until__lte=Now()) | Q(lease_until__gt=Now() + 2 * STEP_LEASE)
        mine = BulkChange.objects.filter(free, pk=self.pk, finished_at=None)
        return owner if mine.update(owner=owner, lease_until=Now() + STEP_LEASE) else ""

    def advance(self, changed: int, skipped: Sequence[str], seen: int) -> bool:
        """Save a step of this process. Return whether it still is the one that makes them."""
        total = Counter(self.read_skipped())
        total.update(skipped)
        self.done, self.changed = self.done + seen, self.changed + changed
        self.skipped = msgspec.json.encode(dict(total)).decode()
        is_over = self.done >= self.total
        return bool(
            BulkChange.objects.filter(pk=self.pk, owner=self.owner).update(
                done=self.done,
                changed=self.changed,
                skipped=self.skipped,
                lease_until=None if is_over else Now() + STEP_LEASE,
                finished_at=Now() if is_over else None,
            )
        )


def new_bulk_change(action: BulkAction, user: str, ids: Sequence[str]) -> BulkChange:
    """Return an unsaved change of these requests."""
    return BulkChange(action=action, user=user, ids=pack("\n".join(ids).encode()), total=len(ids))
