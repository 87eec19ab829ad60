"""Retry or cancel many requests in the background, a few in each commit. Another process goes on if this one dies."""

import threading
from collections.abc import Callable

import structlog
from django.db import close_old_connections
from django.db.models.functions import Now

from core import wakeups
from core.database import transactions
from core.errors import OutcomeUnknown, StorageUnavailable
from producer.models import BulkAction, BulkChange, NotRetried, Overtaken, ProduceRequest
from topics.log import current_log

log = structlog.get_logger("takhin.background")
# Each commit takes some milliseconds, and holds up other writers for as long.
STEP = 25
NO_LONGER_PENDING = "it is no longer pending, or being written now"


def start(change: BulkChange) -> None:
    """Make the rest of the change in a thread, unless another process does."""
    threading.Thread(target=_run_quietly, args=[change.pk], name="takhin-bulk", daemon=True).start()


def resume() -> None:
    """Go on with the changes whose process has died."""
    for change in BulkChange.objects.filter(finished_at=None, lease_until__lt=Now()).defer("ids"):
        start(change)


def _run_quietly(pk: int) -> None:
    try:
        run(pk)
    except (StorageUnavailable, OutcomeUnknown) as error:
        log.warning("bulk_change_put_off", change=pk, error=str(error))
    except Exception:
        log.exception("bulk_change_failed", change=pk)
    finally:
        close_old_connections()


def run(pk: int, progress: Callable[[int], object] = lambda steps: None) -> BulkChange:
    """Make the rest of the change, and return it. Raises StorageUnavailable, OutcomeUnknown."""
    change = BulkChange.objects.get(pk=pk)
    change.owner = transactions.commit(change.claim)
    ids = change.read_ids()
    while change.owner and change.done < change.total:
        chosen = ids[change.done : change.done + STEP]
        before = change.done, change.changed, change.skipped

        def step(chosen: list[str] = chosen, before: tuple[int, int, str] = before) -> list[str]:
            # It may run again after a rollback.
            change.done, change.changed, change.skipped = before
            return _step(change, chosen)

        try:
            changed = transactions.commit(step)
        except Overtaken:
            return change
        _announce(change.action, changed)
        progress(len(chosen))
    log.info("bulk_change_done", change=pk, action=change.action, changed=change.changed, total=change.total)
    return change


def _step(change: BulkChange, chosen: list[str]) -> list[str]:
    """Change these requests, and return the ids of those that were changed. Raises Overtaken."""
    changed: list[str] = []
    skipped: list[str] = []
    found = {row.pk: row for row in ProduceRequest.objects.filter(pk__in=chosen).defer("body")}
    for pk in chosen:
        try:
            _change(change, found.get(pk))
        except NotRetried as reason:
            skipped.append(str(reason))
        else:
            changed.append(pk)
    if not change.advance(len(changed), skipped, len(chosen)):
        raise Overtaken(str(change.pk))
    return changed


def _change(change: BulkChange, row: ProduceRequest | None) -> None:
    """Raises NotRetried."""
    if row is None:
        raise NotRetried("it was purged")
    if change.action == BulkAction.RETRY:
        row.retry(change.user)
    elif not row.cancel(rolls_back=current_log().supports_transactions):
        raise NotRetried(NO_LONGER_PENDING)


def _announce(action: str, changed: list[str]) -> None:
    if action == BulkAction.RETRY:
        if changed:
            wakeups.work_arrived()
    else:
        for pk in changed:
            wakeups.finished(pk)
