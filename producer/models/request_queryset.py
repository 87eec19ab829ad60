"""Which requests are pending, failed, expired or claimable, and how a worker claims some of them."""

import functools
import operator
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from core.database import statements
from producer.models.request_ids import id_at
from producer.models.status import RequestMode, Status

if TYPE_CHECKING:
    from producer.models.requests import ProduceRequest

LEASE = timedelta(seconds=30)
# A request that failed is left alone for up to a minute.
LONGEST_LEASE = timedelta(seconds=120)

_CLAIM = """
UPDATE producer_producerequest
SET attempts = attempts + 1, claims = claims + 1, lease_until = {until}, started_at = {now}, slot = %s
WHERE id IN ({places})
"""


class ProduceRequestQuerySet(models.QuerySet["ProduceRequest"]):
    def pending(self) -> Self:
        return self.filter(status=Status.PENDING)

    def failures(self) -> Self:
        """Async requests with records that were not written. They are kept for longer than others."""
        return self.filter(mode=RequestMode.ASYNC, status__in=[Status.FAILED, Status.PARTIAL])

    def expired(self, age: timedelta, failure_age: timedelta) -> Self:
        """Finished requests that are older than this, by the database's clock. Ids narrow the search."""
        made_before = id_at(datetime.now(UTC) - min(age, failure_age))
        is_failure = Q(mode=RequestMode.ASYNC, status__in=[Status.FAILED, Status.PARTIAL])
        other, failure = Q(completed_at__lt=Now() - age), Q(completed_at__lt=Now() - failure_age)
        expired = self.filter(~is_failure & other | is_failure & failure, id__lt=made_before)
        return expired.exclude(status=Status.PENDING)

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
        rows = list(self.raw(*_claimable_sql(self.model, most)))
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
        return any(self.raw(*_is_claimable_sql(self.model)))

    def renew(self, rows: Sequence["ProduceRequest"]) -> None:
        """Extend the claims of these requests by another lease, except those that were finished or claimed since."""
        if rows:
            mine = functools.reduce(operator.or_, (Q(pk=row.pk, claims=row.claims) for row in rows))
            self.pending().filter(mine).update(lease_until=Now() + LEASE)


# Django takes as long to write these queries as the database takes to run them.
@functools.cache
def _claimable_sql(model: "type[ProduceRequest]", most: int) -> tuple[str, tuple[Any, ...]]:
    rows = model.objects.claimable().order_by("id").select_for_update(skip_locked=True)
    return rows[:most].query.sql_with_params()


@functools.cache
def _is_claimable_sql(model: "type[ProduceRequest]") -> tuple[str, tuple[Any, ...]]:
    return model.objects.claimable().only("pk")[:1].query.sql_with_params()
