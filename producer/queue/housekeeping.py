"""Purge finished requests, and enforce the topics' retention."""

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import structlog
from django.conf import settings
from django.db import close_old_connections
from django.db.models import QuerySet
from django.db.models.functions import Length, Now

from core import crashes, rollups
from core.database import transactions
from core.errors import OutcomeUnknown, StorageUnavailable
from core.models import AuditEntry
from producer.models import BulkChange, Heartbeat, IdempotencyKey, ProduceRequest
from producer.queue import bulk_changes
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
            log.warning("housekeeping_put_off", error=str(error))
        except Exception:
            log.exception("housekeeping_failed")
        finally:
            close_old_connections()


def _keep_house() -> None:
    purged = purge(timedelta(seconds=settings.TAKHIN_REQUEST_TTL), timedelta(seconds=settings.TAKHIN_FAILURE_TTL))
    purged += purge_excess_failures()
    keys = purge_keys()
    purge_bulk_changes()
    purge_audit()
    rollups.purge()
    transactions.commit(Heartbeat.objects.purge)
    bulk_changes.resume()
    expired = enforce_retention()
    if purged or keys or expired:
        log.info("housekeeping", requests=purged, keys=keys, records=expired)


def enforce_retention() -> int:
    """Delete records that have outlived their topic's retention. Return how many."""
    return current_log().enforce_retention(time.time_ns() // 1_000_000)


def purge(age: timedelta, failure_age: timedelta, progress: Callable[[int], object] | None = None) -> int:
    """Delete requests that finished longer ago than `age`, and failures `failure_age`, committing every PURGE_STEP.

    Never deletes pending ones. Return how many were deleted.
    """
    return _delete(ProduceRequest.objects.expired(age, failure_age), progress)


def purge_excess_failures() -> int:
    """Delete the oldest failures beyond TAKHIN_MAX_FAILURE_BYTES, so that they do not fill the disk.

    Return how many were deleted.
    """
    failures = ProduceRequest.objects.failures()
    first = _first_excess(failures, settings.TAKHIN_MAX_FAILURE_BYTES)
    if first is None:
        return 0
    log.warning("failures_purged_early", bytes=settings.TAKHIN_MAX_FAILURE_BYTES)
    return _delete(failures.filter(id__lte=first))


def _first_excess(rows: QuerySet[ProduceRequest], room: int) -> str | None:
    """Return the id of the newest request whose body has no room beside those that are newer."""
    with transactions.translated():
        for pk, size in rows.order_by("-id").values_list("pk", Length("body")).iterator():
            room -= size or 0
            if room < 0:
                return str(pk)
    return None


def _delete(rows: QuerySet[ProduceRequest], progress: Callable[[int], object] | None = None) -> int:
    deleted, last = 0, ""
    while True:
        # Without `last`, each step would pass all rows again that are kept.
        with transactions.translated():
            doomed = list(rows.filter(id__gt=last).order_by("id").values_list("pk", flat=True)[:PURGE_STEP])
        if not doomed:
            return deleted
        step = transactions.commit(partial(_delete_step, rows, doomed))
        last = doomed[-1]
        deleted += step
        if progress is not None:
            progress(step)


def purge_keys() -> int:
    """Delete idempotency keys that have outlived TAKHIN_IDEMPOTENCY_TTL, committing every PURGE_STEP.

    The key of a pending request stays. Return how many were deleted.
    """
    deleted = 0
    while step := transactions.commit(_purge_keys_step):
        deleted += step
    return deleted


def purge_bulk_changes() -> None:
    """Delete bulk changes as old as the failures that they were about."""
    kept = timedelta(seconds=settings.TAKHIN_FAILURE_TTL)
    transactions.commit(lambda: BulkChange.objects.filter(finished_at__lt=Now() - kept).delete())


def purge_audit() -> None:
    """Delete audit entries that have outlived TAKHIN_AUDIT_TTL."""
    kept = timedelta(seconds=settings.TAKHIN_AUDIT_TTL)
    transactions.commit(lambda: AuditEntry.objects.filter(at__lt=Now() - kept).purge())


def _purge_keys_step() -> int:
    old = IdempotencyKey.objects.filter(created_at__lt=Now() - timedelta(seconds=settings.TAKHIN_IDEMPOTENCY_TTL))
    expired = old.exclude(request_id__in=ProduceRequest.objects.pending().values("pk"))
    mine = expired.order_by("created_at").select_for_update(skip_locked=True)
    doomed = list(mine.values_list("pk", flat=True)[:PURGE_STEP])
    return IdempotencyKey.objects.filter(pk__in=doomed).delete()[0] if doomed else 0


def _delete_step(rows: QuerySet[ProduceRequest], doomed: list[str]) -> int:
    # Several processes may purge at the same time, and a request may have been retried meanwhile.
    mine = list(rows.filter(pk__in=doomed).select_for_update(skip_locked=True).values_list("pk", flat=True))
    crashes.at("purge.before")
    count = ProduceRequest.objects.filter(pk__in=mine).delete()[0]
    crashes.at("purge.after")
    return count
