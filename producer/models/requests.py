"""Tracked produce requests. The row of a pending request is its entry in the queue."""

import functools
import operator
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import msgspec
import uuid_utils
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from core import crashes
from core.database import statements
from core.errors import OutcomeUnknown
from producer.models import idempotency
from producer.models.keys import ApiKey
from producer.models.outcomes import Outcomes, unpack
from producer.options import Options

LEASE = timedelta(seconds=30)
# A request that failed is left alone for up to a minute.
LONGEST_LEASE = timedelta(seconds=120)
MAX_ATTEMPTS = 5


_CLAIM = """
UPDATE producer_producerequest
SET attempts = attempts + 1, claims = claims + 1, lease_until = {until}, started_at = {now}, slot = %s
WHERE id IN ({places})
"""
_COMPLETE = """
UPDATE producer_producerequest
SET status = %s, error = %s, completed_at = %s, written_count = %s, outcomes = %s, lease_until = NULL, slot = NULL
WHERE id = %s AND claims = %s AND status = 'pending'
"""


class Overtaken(Exception):
    """Another worker has claimed this request, or it was cancelled: roll back."""


class ProduceRequestQuerySet(models.QuerySet["ProduceRequest"]):
    def pending(self) -> Self:
        return self.filter(status=Status.PENDING)

    def finished_for(self, age: timedelta) -> Self:
        """Requests that finished longer ago than this, by the database's clock. Ids narrow the search."""
        made_before = id_at(datetime.now(UTC) - age)
        return self.exclude(status=Status.PENDING).filter(id__lt=made_before, completed_at__lt=Now() - age)

    def claimable(self) -> Self:
        """Pending requests without a slot, and without a valid lease by the database's clock.

        A lease that is longer than any is void: that clock was set back.
        """
        is_over = Q(lease_until=None) | Q(lease_until__lte=Now()) | Q(lease_until__gt=Now() + LONGEST_LEASE)
        return self.pending().filter(is_over, slot=None)

    def claim(self, most: int, slot: int | None = None) -> list["ProduceRequest"]:
        """Lease up to `most` requests and count the attempt. Run it in a transaction.

        The attempt is counted now, because a request that kills its worker never reaches an `except`. `claims` is
        the fencing token: later writes of a claim succeed only while it is the latest one. A request that was tried
        before is claimed alone, so that a poison request does not affect others. No other worker claims the requests
        of a slot until the slot's owner, or its next one, has resolved them.
        """
        rows = list(ProduceRequest.objects.raw(*_claimable_sql(most)))
        if not rows:
            return []
        fresh = [row for row in rows if row.attempts == 0]
        chosen = fresh if rows[0].attempts == 0 else rows[:1]
        places = ", ".join(["%s"] * len(chosen))
        now, until = statements.now(), statements.now(LEASE)
        statements.execute(_CLAIM.format(now=now, until=until, places=places), [slot, *(row.pk for row in chosen)])
        for row in chosen:
            row.slot = slot
            row.attempts += 1
            row.claims += 1
        return chosen

    def has_claimable(self) -> bool:
        """Whether there may be something to claim. A worker asks whenever it wakes up."""
        return any(ProduceRequest.objects.raw(*_is_claimable_sql()))

    def renew(self, rows: Sequence["ProduceRequest"]) -> None:
        """Extend the claims of these requests by another lease, except those that were finished or claimed since."""
        if rows:
            mine = functools.reduce(operator.or_, (Q(pk=row.pk, claims=row.claims) for row in rows))
            self.pending().filter(mine).update(lease_until=Now() + LEASE)


# Django takes as long to write these queries as the database takes to run them.
@functools.cache
def _claimable_sql(most: int) -> tuple[str, tuple[Any, ...]]:
    rows = ProduceRequest.objects.claimable().order_by("id").select_for_update(skip_locked=True)
    return rows[:most].query.sql_with_params()


@functools.cache
def _is_claimable_sql() -> tuple[str, tuple[Any, ...]]:
    return ProduceRequest.objects.claimable().only("pk")[:1].query.sql_with_params()


class Status(models.TextChoices):
    PENDING = "pending", "Pending"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"


class RequestMode(models.TextChoices):
    SYNC = "sync", "Sync"
    ASYNC = "async", "Async"


def new_request_id(new_id: str | None = None) -> str:
    """Return the id of a new request. `new_id` is the hexadecimal UUIDv7 that its response has as X-Request-Id."""
    return f"req_{new_id or uuid_utils.uuid7().hex}"


class ProduceRequest(models.Model):
    """One produce request and its result.

    `id` is `req_` and a UUIDv7, so it sorts by time. `dialect` names how the body is written. `body` is kept for async
    requests, and for sync requests with failed records. No worker may claim the request before `lease_until`. `slot` is
    the slot of the worker that is writing it in a session.
    """

    id = models.CharField(primary_key=True, max_length=36, default=new_request_id, editable=False)
    # Null unless the client sent one, because few do: an index on all would cost every request.
    http_request_id = models.CharField("X-Request-Id", max_length=128, null=True)  # noqa: DJ001
    topic = models.CharField(max_length=249)
    mode = models.CharField(max_length=5, choices=RequestMode.choices)
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.PENDING)
    api_key = models.ForeignKey(ApiKey, models.SET_NULL, null=True, db_index=False)
    options = models.TextField()
    dialect = models.CharField(max_length=16, default="json")
    record_count = models.PositiveIntegerField()
    written_count = models.PositiveIntegerField(default=0)
    body_bytes = models.PositiveIntegerField()
    attempts = models.PositiveIntegerField(default=0)
    claims = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    slot = models.PositiveIntegerField(null=True)
    error = models.TextField(default="")
    outcomes = models.BinaryField(null=True)
    body = models.BinaryField(null=True)

    objects = ProduceRequestQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            # Requests that succeed, which are nearly all, are in neither of the first three.
            models.Index(fields=["id"], name="requests_pending", condition=Q(status="pending")),
            models.Index(fields=["id"], name="requests_failed", condition=Q(status="failed")),
            models.Index(
                fields=["http_request_id"], name="requests_by_given_id", condition=Q(http_request_id__isnull=False)
            ),
            models.Index(fields=["topic", "id"], name="by_topic"),
        ]

    def __str__(self) -> str:
        return self.id

    @property
    def is_finished(self) -> bool:
        return self.status != Status.PENDING

    @property
    def failed_count(self) -> int:
        return self.record_count - self.written_count if self.is_finished else 0

    @property
    def trace_id(self) -> str:
        """The X-Request-Id of its response. One that the client did not send is part of the id."""
        return self.http_request_id or self.pk.removeprefix("req_")

    def read_body(self) -> bytes:
        """Return the decoded body, or empty bytes if it was not kept."""
        return unpack(self.body) if self.body is not None else b""

    def read_options(self) -> Options:
        return msgspec.json.decode(self.options, type=Options)

    def read_outcomes(self) -> bytes | None:
        """Return the records' results as the JSON array that the API returns."""
        return unpack(self.outcomes) if self.outcomes is not None else None

    def complete(self, outcomes: Outcomes) -> None:
        """Finish this claimed request with its records' results. Raises Overtaken."""
        self.written_count = outcomes.written_count
        self.status = Status.COMPLETED if self.written_count else Status.FAILED
        self.error = storable(outcomes.error)
        now = statements.moment(datetime.now(UTC))
        crashes.at("outcome.before")
        values = [str(self.status), self.error, now, self.written_count, outcomes.packed, self.pk, self.claims]
        if not statements.execute(_COMPLETE, values):
            raise Overtaken(self.pk)
        self._settle(outcomes)
        crashes.at("outcome.after")

    def complete_by(self, receipt: bytes) -> None:
        """Finish this claimed request with the results that its session kept. Raises Overtaken."""
        self.complete(Outcomes.unpacked(receipt))

    def fail(self, reason: str) -> None:
        """Fail this claimed request, with nothing written. Raises Overtaken."""
        self.status, self.error = Status.FAILED, storable(reason)
        ended = {"status": self.status, "error": self.error, "completed_at": Now(), "lease_until": None, "slot": None}
        self._while_claimed(**ended)
        self._settle(None)

    def _settle(self, outcomes: Outcomes | None) -> None:
        # Only a sync request that has a key, or is atomic, ever waits for a worker.
        if self.mode == RequestMode.SYNC:
            idempotency.settle(self.pk, outcomes)

    def postpone(self, seconds: float, reason: str) -> None:
        """Release the claim after a failed attempt; it may be claimed again after `seconds`. Raises Overtaken."""
        self._while_claimed(lease_until=Now() + timedelta(seconds=seconds), error=storable(reason), slot=None)

    def release(self, seconds: float = 0) -> None:
        """Release the claim without counting the attempt: the log was down, or the worker stops. Raises Overtaken."""
        self._while_claimed(lease_until=Now() + timedelta(seconds=seconds), attempts=self.attempts - 1, slot=None)

    def discount(self) -> None:
        """Do not count the attempt, but keep the claim. Raises Overtaken."""
        self._while_claimed(attempts=self.attempts - 1)

    def give_back(self) -> None:
        """Release the claim after its worker died. The attempt counts, because it may have killed the worker.

        Raises Overtaken.
        """
        self._while_claimed(lease_until=None, slot=None)

    def _while_claimed(self, **columns: Any) -> None:
        mine = ProduceRequest.objects.pending().filter(pk=self.pk, claims=self.claims)
        if not mine.update(**columns):
            raise Overtaken(self.pk)

    @property
    def is_in_doubt(self) -> bool:
        """Whether it is unknown if one of its records was written."""
        return f'"{OutcomeUnknown.code}"'.encode() in (self.read_outcomes() or b"")

    def retry(self) -> bool:
        """Make a failed request pending again, if its body was kept and none of its records can have been written.

        Return whether it is pending now.
        """
        if self.is_in_doubt:
            return False
        failed = ProduceRequest.objects.filter(pk=self.pk, status=Status.FAILED, body__isnull=False)
        return bool(
            failed.update(
                status=Status.PENDING,
                mode=RequestMode.ASYNC,
                attempts=0,
                error="",
                outcomes=None,
                lease_until=None,
                completed_at=None,
            )
        )

    def cancel(self, rolls_back: bool = True) -> bool:
        """Cancel a pending request. Return whether it was cancelled. Run it in a transaction.

        A worker that is writing it is overtaken and rolls back. If the log cannot roll back, a request that is being
        written is not cancelled.
        """
        pending = ProduceRequest.objects.pending().filter(pk=self.pk)
        if not rolls_back:
            pending = pending.claimable()
        if not pending.update(status=Status.FAILED, error="cancelled", completed_at=Now(), lease_until=None):
            return False
        self._settle(None)
        return True


def storable(reason: str) -> str:
    """Escape NUL, which clients may send and PostgreSQL cannot store in text."""
    return reason.replace("\0", "\\x00")


def id_at(moment: datetime) -> str:
    """Return the smallest id of a request created at this moment. Ids start with their milliseconds."""
    return f"req_{int(moment.timestamp() * 1000):012x}"
