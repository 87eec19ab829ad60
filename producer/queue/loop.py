"""The worker: claim pending requests, give each its turns, and renew their leases. What a log is, its writer knows."""

import itertools
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from operator import attrgetter

import structlog
from django.db import close_old_connections

from core import spans, tracing, wakeups
from core.database import transactions
from core.errors import OutcomeUnknown, StorageError, StorageUnavailable
from producer.models import LEASE, Heartbeat
from producer.pipeline.produce import SLICE_SECONDS
from producer.queue.endings import Ending, back_off, end, ending_of, has_given_up, save, tell
from producer.queue.jobs import Job
from producer.queue.writers import Writer

log = structlog.get_logger("takhin.worker")
MOST_CLAIMED = 64
POLL_SECONDS = 0.5
# The wait after an error that is not a request's.
PAUSE_SECONDS = 1.0
# The most unfinished requests that a worker keeps. It releases the rest, which start over later.
MOST_UNFINISHED = 64
MOST_UNFINISHED_BYTES = 128 * 1024 * 1024
# A worker whose loop has not advanced for this long is stuck.
HEARTBEAT_SECONDS = 60.0


class Worker:
    """A worker. `loop` runs it in the calling thread until `stop`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._seen = time.monotonic()
        # Claimed requests that are not finished. Replaced, never changed, because the lease thread reads it.
        self._held: list[Job] = []
        self._trouble = ""
        # Under which other processes know that it works.
        self._name = f"{socket.gethostname()[:60]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def stop(self) -> None:
        self._stopping.set()
        wakeups.work_arrived()

    def wait_until_ended(self, seconds: float) -> None:
        """Wait until the worker has ended after `stop`."""
        self._ended.wait(seconds)

    @property
    def trouble(self) -> str | None:
        """What an operator has to do something about, or None."""
        if time.monotonic() - self._seen >= HEARTBEAT_SECONDS:
            return f"a worker has been stuck for {HEARTBEAT_SECONDS:.0f} seconds"
        return self._writer.refusal

    def loop(self) -> None:
        renewer = threading.Thread(target=self._renew_until_stopped, name="takhin-lease", daemon=True)
        renewer.start()
        while not self._stopping.is_set():
            self._seen = time.monotonic()
            self._work_or_wait()
            close_old_connections()
        try:
            self._release_held()
            transactions.commit(lambda: Heartbeat.objects.filter(pk=self._name).delete())
        except StorageError as error:
            # The leases expire by themselves.
            log.warning("claims_not_released", error=str(error))
        finally:
            close_old_connections()
            self._ended.set()

    def _work_or_wait(self) -> None:
        try:
            if not self.work_once():
                wakeups.wait_for_work(POLL_SECONDS)
            self._trouble = ""
        except (StorageUnavailable, OutcomeUnknown) as error:
            if str(error) != self._trouble:
                log.warning("worker_waits", error=str(error))
            self._trouble = str(error)
            self._forget_held()
            self._stopping.wait(PAUSE_SECONDS)
        except Exception:
            log.exception("worker_failed")
            self._forget_held()
            self._stopping.wait(PAUSE_SECONDS)

    def work_once(self) -> int:
        """Claim pending requests and give each a turn, then one unfinished request. Return the number of turns.

        Raises StorageUnavailable and OutcomeUnknown if the database or the log does not serve.
        """
        if not self._writer.open():
            return 0
        # The longest-waiting unfinished request gets one turn. The others do not delay new ones.
        unfinished = self._held[:1]
        new = [Job(row) for row in self._writer.claim(MOST_CLAIMED)]
        self._held = [*self._held, *new]
        turns = [*new, *unfinished]
        ready = self._ready(turns)
        while batch := list(itertools.islice(ready, self._writer.most_at_once)):
            self._write(batch)
        if self._stopping.is_set():
            self._release_held()
        return len(turns)

    def _ready(self, turns: list[Job]) -> Iterator[Job]:
        """Give each request its turn, and yield those whose plan is complete."""
        for job in turns:
            if self._stopping.is_set():
                return
            self._seen = time.monotonic()
            # It may have been released to make room for a request that had its turn before.
            if job in self._held:
                with tracing.about(job.row.trace_id):
                    is_complete = self._advance(job)
                # Outside the block: what the caller logs meanwhile may be about other requests.
                if is_complete:
                    yield job

    def _advance(self, job: Job) -> bool:
        """Give a request its turn. Return whether its plan is complete."""
        if job.plan is None and has_given_up(job.row):
            self._let_go(job)
            return False
        try:
            is_complete = job.advance(self._writer.log, SLICE_SECONDS)
        except Exception as error:
            self._let_go(job)
            # Nothing was sent yet.
            end(job.row, ending_of(error), error)
            return False
        if not is_complete:
            self._keep(job)
        return is_complete

    def _write(self, jobs: list[Job]) -> None:
        for job, ending, error in self._writer.write(jobs):
            self._seen = time.monotonic()
            self._let_go(job)
            seconds = time.perf_counter() - job.started
            with tracing.about(job.row.trace_id):
                end(job.row, ending, error)
                if ending is Ending.WRITTEN:
                    tell(job.row, seconds)
            if spans.is_on():
                trace = job.row.read_options().trace
                spans.record("async run", trace, seconds, request_id=job.row.pk, ending=ending.name.lower())
            if ending is Ending.IN_DOUBT:
                self._forget_held()

    def _keep(self, job: Job) -> None:
        """Queue an unfinished request for another turn, and release requests if there are too many."""
        self._let_go(job)
        self._held = [*self._held, job]
        while (excess := _excess(self._held)) is not None:
            self._let_go(excess)
            self._release(excess, back_off(excess.row))

    def _let_go(self, job: Job) -> None:
        self._held = [one for one in self._held if one is not job]

    def _release(self, job: Job, seconds: float = 0) -> None:
        save(job.row, lambda: job.row.release(seconds))

    def _forget_held(self) -> None:
        """Forget all claimed requests, so that their leases are no longer renewed."""
        self._held = []
        self._writer.drop()

    def _release_held(self) -> None:
        """Release the requests that were not written, and let the writer go."""
        held, self._held = self._held, []
        for job in held:
            self._release(job)
        self._writer.close()

    def _beat(self) -> None:
        """Tell other processes that this worker works, unless its loop is stuck."""
        if time.monotonic() - self._seen < HEARTBEAT_SECONDS:
            transactions.commit(lambda: Heartbeat.objects.beat(self._name))

    def _renew_until_stopped(self) -> None:
        self._quietly(self._beat)
        while not self._stopping.wait(LEASE.total_seconds() / 3):
            self._quietly(self.renew)
            self._quietly(self._beat)

    def _quietly(self, job: Callable[[], object]) -> None:
        try:
            job()
        except (StorageUnavailable, OutcomeUnknown) as error:
            log.warning("lease_not_renewed", error=str(error))
        except Exception:
            # Go on: the lease lasts long enough for another attempt, but a dead thread would never renew it.
            log.exception("lease_not_renewed")
        finally:
            close_old_connections()

    def renew(self) -> None:
        """Renew the leases of all claimed requests."""
        self._writer.renew([job.row for job in self._held])


def _excess(jobs: list[Job]) -> Job | None:
    """Return the request to release if too much is held: the newest one, so that the older ones can finish."""
    planned = [job for job in jobs if job.plan is not None]
    is_too_much = len(planned) > MOST_UNFINISHED or sum(job.size for job in planned) > MOST_UNFINISHED_BYTES
    return max(planned, key=attrgetter("started")) if is_too_much and len(planned) > 1 else None
