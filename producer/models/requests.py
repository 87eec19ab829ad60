"""Tracked produce requests. The row of a pending request is its entry in the queue."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.db import models
from django.db.models import Case, Q, Value, When
from django.db.models.functions import Now

from core import crashes
from core.database import statements
from core.errors import OutcomeUnknown
from producer.models import idempotency
from producer.models.attempts import with_attempt
from producer.models.idempotency import IdempotencyKey, NewKey
from producer.models.keys import ApiKey
from producer.models.outcomes import Outcomes, unpack
from producer.models.request_ids import new_request_id
from producer.models.request_queryset import ProduceRequestQuerySet
from producer.models.status import RequestMode, Status, status_of
from producer.options import Options

MAX_ATTEMPTS = 5
CANCELLED = "cancelled"
GAVE_UP = "gave_up"

_COMPLETE = """
UPDATE producer_producerequest
SET status = %s, code = %s, error = %s, completed_at = %s, written_count = %s, outcomes = %s,
    lease_until = NULL, slot = NULL
WHERE id = %s AND claims = %s AND status = 'pending'
"""


class Overtaken(Exception):
    """Another worker has claimed this request, or it was cancelled: roll back."""


class NotRetried(Exception):
    """Why a request cannot be retried."""


class ProduceRequest(models.Model):
    """One produce request and its result.

    `id` is `req_` and a UUIDv7, so it sorts by time. `dialect` names how the body is written. `body` is kept for async
    requests, and for sync requests with failed records. No worker may claim the request before `lease_until`. `slot` is
    the slot of the worker that is writing it in a session. `code` and `error` are those of the first record that
    failed. `earlier` has the attempts before the last one. `outcomes` of a pending request are those of an earlier
    attempt, and only its failed records are written. `idempotency_key` is the id of an IdempotencyKey, which may not
    exist.
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
    code = models.CharField(max_length=64, db_default="")
    error = models.TextField(default="")
    earlier = models.TextField(db_default="")
    idempotency_key = models.CharField(max_length=280, null=True)  # noqa: DJ001
    fingerprint = models.CharField(max_length=64, null=True)  # noqa: DJ001
    outcomes = models.BinaryField(null=True)
    body = models.BinaryField(null=True)

    # The outcomes as `complete` saved them, still unpacked.
    result: Outcomes | None = None
    objects = ProduceRequestQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        permissions = [("view_payload", "Can view the content of requests")]
        indexes = [
            # Requests that succeed, which are nearly all, are only in the last one.
            models.Index(fields=["id"], name="requests_pending", condition=Q(status="pending")),
            models.Index(fields=["id"], name="requests_failed", condition=Q(status="failed")),
            models.Index(fields=["id"], name="requests_partial", condition=Q(status="partial")),
            models.Index(fields=["id"], name="requests_cancelled", condition=Q(status="cancelled")),
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
        self.result = outcomes
        self.written_count = outcomes.written_count
        self.status = status_of(outcomes)
        self.code, self.error = outcomes.code, storable(outcomes.error)
        now = statements.moment(datetime.now(UTC))
        crashes.at("outcome.before")
        results = [str(self.status), self.code, self.error, now, self.written_count, outcomes.packed]
        if not statements.execute(_COMPLETE, [*results, self.pk, self.claims]):
            raise Overtaken(self.pk)
        self._settle(outcomes)
        crashes.at("outcome.after")

    def complete_by(self, receipt: bytes) -> None:
        """Finish this claimed request with the results that its session kept. Raises Overtaken."""
        self.complete(Outcomes.unpacked(receipt))

    def fail(self, code: str, reason: str) -> None:
        """End this claimed request, with nothing written by this attempt. Raises Overtaken."""
        self.status = Status.PARTIAL if self.written_count else Status.FAILED
        self.code, self.error = code, storable(reason)
        ended = {"status": self.status, "code": self.code, "error": self.error, "completed_at": Now()}
        self._while_claimed(**ended, lease_until=None, slot=None)
        if not self.written_count:
            self._settle(None)

    def _settle(self, outcomes: Outcomes | None) -> None:
        # Only a sync request that has a key, or is atomic, ever waits for a worker.
        if self.mode == RequestMode.SYNC:
            idempotency.settle(self.pk, outcomes)

    def postpone(self, seconds: float, code: str, reason: str) -> None:
        """Release the claim after a failed attempt; it may be claimed again after `seconds`. Raises Overtaken."""
        self._while_claimed(
            lease_until=Now() + timedelta(seconds=seconds), slot=None, **self._noted(code, storable(reason))
        )

    def release(self, seconds: float = 0, code: str = "", reason: str = "") -> None:
        """Release the claim without counting the attempt: the log was down, or the worker stops. Raises Overtaken."""
        noted = self._noted(code, storable(reason)) if code else {}
        self._while_claimed(
            lease_until=Now() + timedelta(seconds=seconds), attempts=self.attempts - 1, slot=None, **noted
        )

    def _noted(self, code: str, reason: str) -> dict[str, str]:
        return {"code": code, "error": reason, "earlier": with_attempt(self.earlier, code, reason)}

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

    @property
    def _has_body(self) -> bool:
        if "body" in self.get_deferred_fields():
            return ProduceRequest.objects.filter(pk=self.pk, body__isnull=False).exists()
        return self.body is not None

    @property
    def obstacle(self) -> str:
        """Why the request cannot be retried, or an empty string."""
        if self.status == Status.PENDING:
            return "it is pending"
        if self.status == Status.COMPLETED:
            return "every record was written"
        if not self._has_body:
            return "its body is not kept"
        if self.is_in_doubt:
            return "it is unknown whether its records were written"
        return ""

    def retry(self, who: str) -> None:
        """Make a request pending again, so that a worker writes its failed records. Run it in a transaction.

        A request with an Idempotency-Key uses the key again: an IntegrityError in the commit means that its client
        does, too. Raises NotRetried.
        """
        if self.obstacle:
            raise NotRetried(self.obstacle)
        key = self._key_to_use_again()
        earlier = with_attempt(self.earlier, self.code, self.error, self.completed_at, retried_by=who)
        same = ProduceRequest.objects.filter(pk=self.pk, status=self.status, claims=self.claims)
        is_changed = same.update(
            status=Status.PENDING,
            attempts=0,
            code="",
            error="",
            earlier=earlier,
            outcomes=self.outcomes if self.written_count else None,
            lease_until=None,
            completed_at=None,
        )
        if not is_changed:
            raise NotRetried("it has changed meanwhile")
        if key is not None:
            key.use(self.pk, self.options, None, is_async=self.mode == RequestMode.ASYNC)

    def _key_to_use_again(self) -> NewKey | None:
        """Raises NotRetried if the client has sent the request again itself."""
        if self.idempotency_key is None or self.fingerprint is None:
            return None
        used = IdempotencyKey.objects.filter(pk=self.idempotency_key).first()
        if used is None:
            return NewKey(self.idempotency_key, self.fingerprint)
        if used.request_id != self.pk:
            raise NotRetried(f"its client has sent it again as {used.request_id}")
        return None

    def cancel(self, rolls_back: bool = True) -> bool:
        """Cancel a pending request. Return whether it was cancelled. Run it in a transaction.

        A worker that is writing it is overtaken and rolls back. If the log cannot roll back, a request that is being
        written is not cancelled.
        """
        pending = ProduceRequest.objects.pending().filter(pk=self.pk)
        if not rolls_back:
            pending = pending.claimable()
        status = Case(When(written_count__gt=0, then=Value(Status.PARTIAL)), default=Value(Status.CANCELLED))
        if not pending.update(status=status, code=CANCELLED, error=CANCELLED, completed_at=Now(), lease_until=None):
            return False
        if not self.written_count:
            self._settle(None)
        return True


def storable(reason: str) -> str:
    """Escape NUL, which clients may send and PostgreSQL cannot store in text."""
    return reason.replace("\0", "\\x00")
