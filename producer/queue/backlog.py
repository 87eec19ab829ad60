"""How many requests are pending, for how long, and who works on them."""

from datetime import timedelta
from typing import NamedTuple

from django.conf import settings
from django.utils import timezone

from core.database import transactions
from core.formatting import length
from producer.models import Heartbeat, ProduceRequest

# Counting a long backlog takes time: 10,000 rows take 1 ms.
MOST_COUNTED = 1_000_000
# Workers of a server that starts need a moment.
PATIENCE = timedelta(seconds=10)


class Backlog(NamedTuple):
    pending: int
    oldest: timedelta
    workers: int


def now() -> Backlog:
    """Raises StorageUnavailable."""
    with transactions.translated():
        pending = ProduceRequest.objects.pending().order_by()
        oldest = pending.order_by("id").values_list("created_at", flat=True).first()
        count = pending[:MOST_COUNTED].count()
        workers = Heartbeat.objects.alive().count()
    age = timedelta(0) if oldest is None else max(timedelta(0), timezone.now() - oldest)
    return Backlog(count, age, workers)


def trouble() -> str | None:
    """Say what keeps pending requests from being written, or return None. Raises StorageUnavailable."""
    found = now()
    if not found.pending or found.oldest < PATIENCE:
        return None
    age = length(timedelta(seconds=int(found.oldest.total_seconds())))
    noun = "request is" if found.pending == 1 else "requests are"
    if not found.workers:
        return f"no worker is running, and {found.pending:,} {noun} pending, the oldest for {age}"
    limit = timedelta(seconds=settings.TAKHIN_MAX_PENDING_AGE)
    if found.oldest > limit:
        return f"the oldest pending request has waited {age}; the limit is {length(limit)} (TAKHIN_MAX_PENDING_AGE)"
    return None
