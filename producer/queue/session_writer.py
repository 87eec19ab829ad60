"""Write requests exactly once on a log with sessions: a crash at any moment loses and duplicates nothing.

The writer holds a slot. Its claimed requests belong to the slot until the session's append is decided and saved in
their rows. After a crash, or if the result of an append is unknown, the slot's next owner recovers them.
"""

import itertools
import os
import socket
import time
import uuid
from collections.abc import Iterator, Sequence

import structlog
from django.conf import settings

from core import spans
from core.database import transactions
from core.errors import OutcomeUnknown, StorageError, StorageUnavailable
from producer.models import Overtaken, ProduceRequest, WorkerSlot
from producer.queue import recovery
from producer.queue.endings import ENDINGS_IN_SESSION, Ending, ending_of
from producer.queue.jobs import Job
from producer.queue.writers import Ended, Writer
from topics.log.contract import Entry, Log, RefusedTogether, Results, Session, SessionStuck
from topics.log.errors import LogRefused

log = structlog.get_logger("takhin.worker")
ORPHAN_SECONDS = 10.0
# How long a worker avoids a slot whose session is stuck.
STUCK_SECONDS = 30.0
# A transaction's records must fit the producer's queue. Those of a single request always do.
MOST_BYTES = 16 * 1024 * 1024
MOST_RECORDS = 20_000


def writes_in_sessions(topic_log: Log) -> bool:
    """Whether the log's workers use sessions."""
    return topic_log.supports_sessions and settings.TAKHIN_KAFKA_EXACTLY_ONCE


class SlotLost(StorageUnavailable):
    """Another worker may have taken the slot over."""

    def __init__(self, slot: WorkerSlot) -> None:
        super().__init__(f"slot {slot.number} is lost")


class SessionWriter(Writer):
    most_at_once = 16

    def __init__(self, topic_log: Log) -> None:
        super().__init__(topic_log)
        self._owner = f"{socket.gethostname()[:20]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._slot: WorkerSlot | None = None
        self._session: Session | None = None
        # The slot that the lease thread could not renew.
        self._lost: WorkerSlot | None = None
        # Slots whose sessions are stuck, and until when to avoid them.
        self._stuck: dict[int, float] = {}
        self._orphans_looked_at = 0.0
        self._trouble: StorageError | None = None

    @property
    def refusal(self) -> str | None:
        # A log that is down recovers by itself.
        return str(self._trouble) if isinstance(self._trouble, LogRefused) else None

    def open(self) -> bool:
        """Get a slot, open its session, and recover what others left. Raises SlotLost."""
        self._check_slot()
        if self._slot is None:
            avoided = self._avoided()
            self._slot = transactions.commit(lambda: WorkerSlot.objects.take(self._owner, avoided=avoided))
        if self._slot is not None and self._session is None:
            self._session = self._open(self._slot)
        if self._session is None:
            return False
        if time.monotonic() - self._orphans_looked_at >= ORPHAN_SECONDS:
            self._orphans_looked_at = time.monotonic()
            recovery.adopt_orphans(self.log, self._owner, self._avoided())
        return True

    def _open(self, slot: WorkerSlot) -> Session | None:
        try:
            session = recovery.open_session(self.log, slot)
        except StorageError as error:
            if str(error) != str(self._trouble):
                log.warning("no_session", slot=slot.number, error=str(error))
            self._trouble = error
            if isinstance(error, OutcomeUnknown):
                # Another worker has the slot.
                self._slot = None
            elif isinstance(error, SessionStuck):
                self._leave_slot()
            return None
        self._trouble = None
        return session

    def _leave_slot(self) -> None:
        """Release the slot, and take another one next time."""
        slot, self._slot = self._slot, None
        self._close_session()
        if slot is not None:
            self._stuck[slot.number] = time.monotonic() + STUCK_SECONDS
            transactions.commit(slot.release)

    def _avoided(self) -> list[int]:
        now = time.monotonic()
        return [number for number, until in self._stuck.items() if until > now]

    def _claim(self, most: int) -> list[ProduceRequest]:
        """Claim requests for the slot, if this worker still holds it. In a lost slot they would be stuck."""
        slot = self._slot
        assert slot is not None
        claimed = transactions.commit(lambda: ProduceRequest.objects.claim(most, slot.number) if slot.renew() else None)
        if claimed is None:
            self._lost = slot
            self._check_slot()
        return claimed or []

    def write(self, jobs: Sequence[Job]) -> Iterator[Ended]:
        for part in _parts(jobs):
            self._check_slot()
            if self._session is None:
                # It was lost with requests before these.
                yield from ((job, Ending.RETURNED, None) for job in part)
            else:
                yield from self._append(self._session, part)

    def _append(self, session: Session, part: list[Job]) -> Iterator[Ended]:
        """Append these requests together, or one by one if the log rejects a record of one of them."""
        try:
            with spans.span("append", requests=len(part)):
                results = session.append([_entry(job) for job in part]) if _has_writes(part[0]) else [[] for _ in part]
        except RefusedTogether:
            yield from self._append_one_by_one(part)
            return
        except SessionStuck as error:
            log.warning("session_stuck", slot=self._slot and self._slot.number, error=str(error))
            yield from ((job, *self._unwritten(job, error)) for job in part)
            self._leave_slot()
            return
        except Exception as error:
            if isinstance(error, LogRefused):
                self._trouble = error
            yield from self._ended(part, ending_of(error, ENDINGS_IN_SESSION), error)
            return
        self._trouble = None
        try:
            overtaken = _complete(part, results)
        except Exception as error:
            # The records are written. The receipts tell once the database answers.
            yield from self._ended(part, Ending.IN_DOUBT, error)
            return
        yield from ((job, Ending.OVERTAKEN if job in overtaken else Ending.WRITTEN, None) for job in part)

    def _unwritten(self, job: Job, error: SessionStuck) -> tuple[Ending, Exception]:
        """Tell apart the requests whose partitions are at fault, which must wait."""
        assert job.plan is not None
        try:
            self.log.check_writable(job.plan.writes)
        except StorageUnavailable as unwritable:
            return Ending.RELEASED, unwritable
        return Ending.RETURNED, error

    def _append_one_by_one(self, jobs: Sequence[Job]) -> Iterator[Ended]:
        for job in jobs:
            yield from self.write([job])

    def _ended(self, part: list[Job], ending: Ending, error: Exception) -> Iterator[Ended]:
        if ending is Ending.IN_DOUBT:
            self._close_session()
        yield from ((job, ending, error) for job in part)

    def renew(self, rows: Sequence[ProduceRequest]) -> None:
        """Renew the slot, to which the rows belong."""
        slot = self._slot
        if slot is not None and not transactions.commit(slot.renew):
            self._lost = slot

    def _check_slot(self) -> None:
        """Raise SlotLost if the slot was lost. Only this thread uses the session, so only it closes the session."""
        lost, self._lost = self._lost, None
        if lost is not None and lost is self._slot:
            log.warning("slot_lost", slot=lost.number)
            self._slot = None
            self._close_session()
            raise SlotLost(lost)

    def drop(self) -> None:
        """Close the session. The next one resolves what is left in the slot."""
        self._close_session()

    def close(self) -> None:
        self._close_session()
        slot, self._slot = self._slot, None
        if slot is not None:
            transactions.commit(slot.release)

    def _close_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


def _parts(jobs: Sequence[Job]) -> list[list[Job]]:
    """Group requests into transactions: one codec each, bounded in records and bytes. Those without writes first."""
    parts: list[list[Job]] = []
    for _, group in itertools.groupby(sorted(jobs, key=_codec), _codec):
        parts.append([])
        size = count = 0
        for job in group:
            assert job.plan is not None
            size, count = size + job.plan.size, count + job.plan.count
            if parts[-1] and (size > MOST_BYTES or count > MOST_RECORDS):
                parts.append([])
                size, count = job.plan.size, job.plan.count
            parts[-1].append(job)
    return parts


def _has_writes(job: Job) -> bool:
    return job.plan is not None and bool(job.plan.writes)


def _codec(job: Job) -> str:
    assert job.plan is not None
    return job.plan.writes[0].codec if job.plan.writes else ""


def _entry(job: Job) -> Entry:
    row, plan = job.row, job.plan
    assert plan is not None
    return Entry(row.pk, plan.writes, plan.strict, lambda results: plan.outcomes(results).packed)


def _complete(part: list[Job], results: list[Results]) -> list[Job]:
    """Complete the requests' rows in one transaction. Return the requests that were overtaken."""

    def complete() -> list[Job]:
        overtaken: list[Job] = []
        for job, result in zip(part, results, strict=True):
            assert job.plan is not None
            try:
                job.row.complete(job.plan.outcomes(result))
            except Overtaken:
                overtaken.append(job)
        return overtaken

    return transactions.commit(complete)
