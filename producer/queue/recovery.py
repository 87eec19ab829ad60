"""Find out from a session's receipts what became of the requests that a worker left in its slot.

Opening a session decides every transaction of its earlier owner. A request with a receipt was written; one without was
not.
"""

from collections.abc import Sequence
from datetime import timedelta

import structlog
from django.db.models.functions import Now

from core import tracing, wakeups
from core.database import transactions
from core.errors import OutcomeUnknown, StorageError
from producer.models import ProduceRequest, WorkerSlot
from producer.queue.endings import save
from topics.log.contract import Log, Session

log = structlog.get_logger("takhin.worker")
# How much earlier than its claim a receipt may appear, if clocks differ.
CLOCKS_DIFFER = timedelta(minutes=5)
# Receipts are kept for seven days. Older claims have none.
RECEIPTS_KEPT = timedelta(days=7) - CLOCKS_DIFFER


def open_session(topic_log: Log, slot: WorkerSlot) -> Session:
    """Open a slot's session and resolve every request that was left in the slot.

    Raises StorageUnavailable, LogRefused, and OutcomeUnknown if another worker has the slot.
    """
    session = topic_log.open_session(slot.name, lambda: transactions.commit(slot.renew))
    try:
        _resolve(session, slot)
    except BaseException:
        session.close()
        raise
    return session


def adopt_orphans(topic_log: Log, owner: str, avoided: Sequence[int] = ()) -> None:
    """Resolve the requests in slots of dead workers, even if no worker takes these slots again."""
    with transactions.translated():
        held = ProduceRequest.objects.pending().exclude(slot=None).values_list("slot", flat=True).distinct()
        orphans = list(WorkerSlot.objects.free().filter(number__in=list(held)).values_list("number", flat=True))
    for number in set(orphans) - set(avoided):
        _adopt(topic_log, owner, number)


def _adopt(topic_log: Log, owner: str, number: int) -> None:
    slot = transactions.commit(lambda: WorkerSlot.objects.take(owner, number))
    if slot is None:
        return
    try:
        open_session(topic_log, slot).close()
    except StorageError as error:
        log.warning("slot_not_resolved", slot=number, error=str(error))
    finally:
        transactions.commit(slot.release)


def _resolve(session: Session, slot: WorkerSlot) -> None:
    """Complete the requests of this slot that were written, and release the others."""
    with transactions.translated():
        left = ProduceRequest.objects.pending().filter(slot=slot.number)
        rows = list(left.order_by("started_at"))
        expired = set(left.filter(started_at__lt=Now() - RECEIPTS_KEPT).values_list("pk", flat=True))
    if not rows:
        return
    since = min(row.started_at for row in rows if row.started_at is not None) - CLOCKS_DIFFER
    receipts = session.receipts([row.pk for row in rows], int(since.timestamp() * 1000))
    for row in rows:
        with tracing.about(row.trace_id):
            _resolve_one(row, receipts.get(row.pk), row.pk in expired)
    log.info("slot_resolved", slot=slot.number, written=len(receipts), given_back=len(rows) - len(receipts))


def _resolve_one(row: ProduceRequest, receipt: bytes | None, is_expired: bool) -> None:
    if receipt is not None:
        save(row, lambda: row.complete_by(receipt))
    elif is_expired:
        save(row, lambda: row.fail(OutcomeUnknown.code, "outcome unknown: its receipt is no longer kept"))
    else:
        save(row, row.give_back)
    wakeups.finished(row.pk)
