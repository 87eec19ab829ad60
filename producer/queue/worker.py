"""Claim pending requests from the database and write them, under a lease."""

import threading
import time
from functools import partial
from operator import attrgetter

import structlog
from django.db import close_old_connections

from core import wakeups
from core.database import transactions
from core.errors import OutcomeUnknown, StorageUnavailable
from producer.models import LEASE, ProduceRequest
from producer.queue.turns import Job, Turn, back_off, take, while_mine, written
from topics.log import current_log

log = structlog.get_logger("takhin.worker")
BATCH = 16
POLL_SECONDS = 0.5
# The most unfinished requests that a worker keeps. It releases the rest, which start over later.
MOST_UNFINISHED = 64
MOST_UNFINISHED_BYTES = 128 * 1024 * 1024
# A worker whose loop has not advanced for this long is stuck.
HEARTBEAT_SECONDS = 60.0


class Worker:
    """A worker. `loop` runs it in the calling thread until `stop`."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._seen = time.monotonic()
        self._jobs: list[Job] = []

    def stop(self) -> None:
        self._stopping.set()
        wakeups.work_arrived()

    def wait_until_ended(self, seconds: float) -> None:
        """Wait until the worker has ended after `stop`."""
        self._ended.wait(seconds)

    @property
    def is_alive(self) -> bool:
        return time.monotonic() - self._seen < HEARTBEAT_SECONDS

    def loop(self) -> None:
        renewer = threading.Thread(target=self._renew_until_stopped, name="takhin-lease", daemon=True)
        renewer.start()
        while not self._stopping.is_set():
            self._seen = time.monotonic()
            try:
                if not self.run_once():
                    wakeups.wait_for_work(POLL_SECONDS)
            except (StorageUnavailable, OutcomeUnknown) as error:
                log.warning("worker waits", error=str(error))
                self._drop()
                self._stopping.wait(1)
            except Exception:
                log.exception("worker failed, goes on")
                self._drop()
                self._stopping.wait(1)
            finally:
                close_old_connections()
        self._let_go()
        close_old_connections()
        self._ended.set()

    def run_once(self) -> int:
        """Claim pending requests and give each a turn, then one unfinished request. Return the number of turns."""
        claimed = transactions.commit(lambda: ProduceRequest.objects.claim(BATCH)) if self._is_work_waiting() else []
        turns = self._turns(claimed)
        for job in turns:
            self._seen = time.monotonic()
            if self._stopping.is_set():
                self._let_go()
                break
            if job not in self._jobs:
                # Released to make room for a request that had its turn before.
                continue
            with structlog.contextvars.bound_contextvars(requestId=job.row.http_request_id):
                turn = take(current_log(), job)
                if turn is Turn.READY:
                    written(current_log(), job)
            self._after(job, turn)
        return len(turns)

    def _turns(self, claimed: list[ProduceRequest]) -> list[Job]:
        """Return the claimed requests and the longest-waiting unfinished one. The others do not delay new ones."""
        under_way = self._jobs[:1]
        new = [Job(row) for row in claimed]
        self._jobs = [*self._jobs, *new]
        return [*new, *under_way]

    def _after(self, job: Job, turn: Turn) -> None:
        """Queue an unfinished request for another turn, and release requests if there are too many."""
        self._jobs = [one for one in self._jobs if one is not job]
        if turn is Turn.UNFINISHED:
            self._jobs = [*self._jobs, job]
            while (excess := _excess(self._jobs)) is not None:
                while_mine(excess.row, partial(excess.row.release, back_off(excess.row)))
                self._jobs = [one for one in self._jobs if one is not excess]

    def _is_work_waiting(self) -> bool:
        with transactions.translated():
            return ProduceRequest.objects.claimable().exists()

    def _drop(self) -> None:
        """Forget all current requests, so that their leases are no longer renewed."""
        self._jobs = []

    def _let_go(self) -> None:
        """Release the requests that were not written."""
        for job in self._jobs:
            while_mine(job.row, job.row.release)
        self._jobs = []

    def _renew_until_stopped(self) -> None:
        while not self._stopping.wait(LEASE.total_seconds() / 3):
            try:
                self._renew()
            except (StorageUnavailable, OutcomeUnknown) as error:
                log.warning("lease not renewed", error=str(error))
            except Exception:
                # Go on: the lease lasts long enough for another attempt, but a dead thread would never renew it.
                log.exception("lease not renewed")
            finally:
                close_old_connections()

    def _renew(self) -> None:
        for job in self._jobs:
            while_mine(job.row, job.row.renew)


def _excess(jobs: list[Job]) -> Job | None:
    """Return the request to release if too much is held: the newest one, so that the older ones can finish."""
    held = [(job, job.plan.bytes + job.plan.body_bytes) for job in jobs if job.plan is not None]
    is_too_much = len(held) > MOST_UNFINISHED or sum(size for _, size in held) > MOST_UNFINISHED_BYTES
    return max((job for job, _ in held), key=attrgetter("started")) if is_too_much and len(held) > 1 else None
