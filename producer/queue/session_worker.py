"""Write requests exactly once on a log with sessions: a crash at any moment loses and duplicates nothing.

The worker holds a slot. Its claimed requests belong to the slot until the session's append is decided and saved in
their rows. After a crash, or if the result of an append is unknown, the slot's next owner reopens the session. That
ends any open transaction, and the session's receipts tell which requests were written.
"""

import itertools
import os
import socket
import threading
import time
import uuid
from datetime import timedelta

import structlog
from django.db.models.functions import Now

from core import wakeups
from core.database import transactions
from core.errors import OutcomeUnknown, StorageError, StorageUnavailable
from producer.models import Overtaken, ProduceRequest, WorkerSlot
from producer.pipeline.plan import Plan
from producer.queue.turns import Job, Turn, failed, take, unavailable, while_mine
from producer.queue.worker import BATCH, Worker
from topics.log.contract import Entry, Log, RefusedTogether, Results, Session
from topics.log.errors import LogRefused

log = structlog.get_logger("takhin.worker")
# How much earlier than its claim a receipt may appear, if clocks differ.
CLOCKS_DIFFER = timedelta(minutes=5)
# Receipts are kept for seven days. Older claims have none.
RECEIPTS_KEPT = timedelta(days=7) - CLOCKS_DIFFER
ORPHAN_SECONDS = 10.0
# A transaction's records must fit the producer's queue. Those of a single request always do.
MOST_BYTES = 16 * 1024 * 1024
MOST_RECORDS = 20_000

Planned = tuple[ProduceRequest, Plan]


class SessionWorker(Worker):
    def __init__(self, topic_log: Log) -> None:
        super().__init__()
        self._log = topic_log
        self._owner = f"{socket.gethostname()[:20]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._slot: WorkerSlot | None = None
        self._session: Session | None = None
        self._orphans_looked_at = 0.0
        self._dropping = threading.Lock()
        self._trouble: StorageError | None = None

    def run_once(self) -> int:
        if not self._is_ready():
            return 0
        assert self._slot is not None
        self._adopt_orphans()
        turns = self._turns(self._claim(self._slot) if self._is_work_waiting() else [])
        self._append_all(_parts([planned for job in turns if (planned := self._turn(job)) is not None]))
        return len(turns)

    def _claim(self, slot: WorkerSlot) -> list[ProduceRequest]:
        """Claim requests for the slot, if this worker still holds it. In a lost slot they would be stuck."""
        claimed = transactions.commit(
            lambda: ProduceRequest.objects.claim(BATCH, slot.number) if slot.renew() else None
        )
        if claimed is None:
            self._lose(slot)
        return claimed or []

    def _is_ready(self) -> bool:
        """Get a slot and open its session. Return whether the worker has both."""
        if self._slot is None:
            self._slot = transactions.commit(lambda: WorkerSlot.objects.take(self._owner))
        if self._slot is None:
            return False
        if self._session is None:
            try:
                self._session = self._open(self._slot)
                # Opening the session resolved all requests of the slot, including the current ones.
                self._jobs = []
                self._trouble = None
            except StorageError as error:
                if str(error) != str(self._trouble):
                    log.warning("no session", slot=self._slot.number, error=str(error))
                self._trouble = error
                if isinstance(error, OutcomeUnknown):
                    # Another worker has the slot.
                    self._slot = None
                self._stopping.wait(1)
        return self._session is not None

    @property
    def is_alive(self) -> bool:
        # A log that is down recovers by itself. A log that rejects this worker needs an operator.
        return super().is_alive and not isinstance(self._trouble, LogRefused)

    def _open(self, slot: WorkerSlot) -> Session:
        """Open a slot's session and resolve every request that was left in the slot."""
        session = self._log.open_session(slot.name, lambda: transactions.commit(slot.renew))
        try:
            _resolve(session, slot)
        except BaseException:
            session.close()
            raise
        return session

    def _adopt_orphans(self) -> None:
        """Resolve the requests in slots of dead workers, even if no worker takes these slots again."""
        if time.monotonic() - self._orphans_looked_at < ORPHAN_SECONDS:
            return
        self._orphans_looked_at = time.monotonic()
        with transactions.translated():
            held = ProduceRequest.objects.pending().exclude(slot=None).values_list("slot", flat=True).distinct()
            orphans = list(WorkerSlot.objects.free().filter(number__in=list(held)).values_list("number", flat=True))
        for number in orphans:
            slot = transactions.commit(lambda number=number: WorkerSlot.objects.take(self._owner, number))  # type: ignore[misc]
            if slot is not None:
                try:
                    self._open(slot).close()
                except StorageError as error:
                    log.warning("slot not resolved", slot=number, error=str(error))
                finally:
                    transactions.commit(slot.release)

    def _turn(self, job: Job) -> Planned | None:
        """Return the row and its plan, or None if the plan is not complete or the row was finished or released."""
        self._seen = time.monotonic()
        if job not in self._jobs:
            return None
        turn = take(self._log, job)
        self._after(job, turn)
        if turn is not Turn.READY:
            return None
        row, plan = job.row, job.plan
        assert plan is not None
        if not plan.writes:
            while_mine(row, lambda: row.complete(plan.outcomes([])))
            wakeups.finished(row.pk)
            return None
        return row, plan

    def _append_all(self, parts: list[list[Planned]]) -> None:
        for part in parts:
            self._seen = time.monotonic()
            if self._session is None:
                # The last append is in doubt. The slot's recovery will find the remaining requests.
                break
            self._append(self._session, part)

    def _append(self, session: Session, part: list[Planned]) -> None:
        """Append these requests together, or one by one if the log rejects a record of one of them."""
        started = time.perf_counter()
        try:
            results = session.append([_entry(row, plan) for row, plan in part])
        except RefusedTogether:
            self._append_all([[planned] for planned in part])
        except OutcomeUnknown as error:
            log.warning("in doubt, the receipts will tell", requests=len(part), error=str(error))
            for row, _ in part:
                while_mine(row, row.discount)
            self._drop()
        except StorageUnavailable as error:
            for row, _ in part:
                unavailable(row, error)
        except Exception as error:
            for row, _ in part:
                failed(row, error)
            self._drop()
        else:
            _complete(part, results, time.perf_counter() - started)

    def _renew(self) -> None:
        slot = self._slot
        if slot is not None and not transactions.commit(slot.renew):
            self._lose(slot)

    def _lose(self, slot: WorkerSlot) -> None:
        log.warning("slot lost", slot=slot.number)
        self._slot = None
        self._drop()

    def _let_go(self) -> None:
        self._drop()
        slot, self._slot = self._slot, None
        if slot is not None:
            transactions.commit(slot.release)

    def _drop(self) -> None:
        """Close the session. The next one resolves what is left in the slot."""
        with self._dropping:
            session, self._session = self._session, None
        if session is not None:
            session.close()


def _parts(entries: list[Planned]) -> list[list[Planned]]:
    """Group requests into transactions: one codec each, bounded in records and bytes."""
    parts: list[list[Planned]] = []
    for _, group in itertools.groupby(sorted(entries, key=_codec), _codec):
        parts.append([])
        size = count = 0
        for row, plan in group:
            size, count = size + plan.size, count + plan.count
            if parts[-1] and (size > MOST_BYTES or count > MOST_RECORDS):
                parts.append([])
                size, count = plan.size, plan.count
            parts[-1].append((row, plan))
    return parts


def _codec(planned: Planned) -> str:
    return planned[1].writes[0].codec


def _entry(row: ProduceRequest, plan: Plan) -> Entry:
    def receipt(results: Results) -> bytes:
        return row.receipt(plan.outcomes(results))

    return Entry(row.pk, row.topic, plan.writes, plan.strict, receipt)


def _complete(part: list[Planned], results: list[Results], seconds: float) -> None:
    def complete() -> None:
        for (row, plan), result in zip(part, results, strict=True):
            try:
                row.complete(plan.outcomes(result))
            except Overtaken:
                log.warning("overtaken", request=row.pk, attempt=row.attempts)

    transactions.commit(complete)
    for row, _ in part:
        wakeups.finished(row.pk)
        took = round(seconds * 1000, 2)
        log.info("ran", request=row.pk, topic=row.topic, attempt=row.attempts, milliseconds=took)


def _resolve(session: Session, slot: WorkerSlot) -> None:
    """Complete the requests of this slot that were written, and release the others."""
    with transactions.translated():
        left = ProduceRequest.objects.pending().filter(slot=slot.number)
        rows = list(left.order_by("started_at"))
        lost = set(left.filter(started_at__lt=Now() - RECEIPTS_KEPT).values_list("pk", flat=True))
    if not rows:
        return
    since = min(row.started_at for row in rows if row.started_at is not None) - CLOCKS_DIFFER
    receipts = session.receipts([row.pk for row in rows], int(since.timestamp() * 1000))
    for row in rows:
        if row.pk in receipts:
            while_mine(row, lambda row=row: row.complete_by(receipts[row.pk]))  # type: ignore[misc]
        elif row.pk in lost:
            while_mine(row, lambda row=row: row.fail("outcome unknown: its receipt is no longer kept"))  # type: ignore[misc]
        else:
            while_mine(row, row.give_back)
        wakeups.finished(row.pk)
    log.info("slot resolved", slot=slot.number, written=len(receipts), given_back=len(rows) - len(receipts))
