"""Purge finished requests, and enforce the topics' retention."""

import time
from collections.abc import Callable
from datetime import timedelta

import structlog
from django.conf import settings
from django.db import close_old_connections
from django.db.models.functions import Now

from core import crashes
from core.database import transactions
from core.errors import OutcomeUnknown, StorageUnavailable
from producer.models import IdempotencyKey, ProduceRequest
from topics.log import current_log

log = structlog.get_logger("takhin.background")
PURGE_STEP = 500


def keep_house_forever() -> None:
    """Purge and enforce retention every TAKHIN_HOUSEKEEPING_INTERVAL seconds."""
    while True:
        time.sleep(settings.TAKHIN_HOUSEKEEPING_INTERVAL)
        try:
            _keep_house()
        except (StorageUnavailable, OutcomeUnknown) as error:
            log.warning("housekeeping put off", error=str(error))
        except Exception:
            log.exception("housekeeping failed, goes on")
        finally:
            close_old_connections()


def _keep_house() -> None:
    purged = purge(timedelta(seconds=settings.TAKHIN_REQUEST_TTL))
    keys = purge_keys()
    expired = enforce_retention()
    if purged or keys or expired:
        log.info("housekeeping", requests=purged, keys=keys, records=expired)


def enforce_retention() -> int:
    """Delete records that have outlived their topic's retention. Return how many."""
    return current_log().enforce_retention(time.time_ns() // 1_000_000)


def purge(older_than: timedelta, progress: Callable[[int], object] | None = None) -> int:
    """Delete requests that finished longer ago than this, committing every PURGE_STEP. Never deletes pending ones.

    Return how many were deleted.
    """
    deleted = 0
    while step := transactions.commit(lambda: _purge_step(older_than)):
        deleted += step
        if progress is not None:
            progress(step)
    return deleted


def purge_keys() -> int:
    """Delete idempotency keys that have outlived TAKHIN_IDEMPOTENCY_TTL, committing every PURGE_STEP.

    The key of a pending request stays. Return how many were deleted.
    """
    deleted = 0
    while step := transactions.commit(_purge_keys_step):
        deleted += step
    return deleted


def _purge_keys_step() -> int:
    old = IdempotencyKey.objects.filter(created_at__lt=Now() - timedelta(seconds=settings.TAKHIN_IDEMPOTENCY_TTL))
    expired = old.exclude(request_id__in=ProduceRequest.objects.pending().values("pk"))
    mine = expired.order_by("created_at").select_for_update(skip_locked=True)
    doomed = list(mine.values_list("pk", flat=True)[:PURGE_STEP])
    return IdempotencyKey.objects.filter(pk__in=doomed).delete()[0] if doomed else 0


def _purge_step(older_than: timedelta) -> int:
    expired = ProduceRequest.objects.finished_for(older_than)
    # Several processes may purge at the same time.
    mine = expired.order_by("id").select_for_update(skip_locked=True)
    doomed = list(mine.values_list("pk", flat=True)[:PURGE_STEP])
    if not doomed:
        return 0
    crashes.at("purge.before")
    count = expired.filter(pk__in=doomed).delete()[0]
    crashes.at("purge.after")
    return count
