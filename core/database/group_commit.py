"""Write to SQLite from one thread per process, with one commit for all callers that wait at the same time.

SQLite allows one writer at a time and needs an fsync per commit, so the thread takes all jobs that wait, commits them
together, and repeats. A single caller waits only for its own commit. Processes that share a file take turns with
`flock`, because SQLite's own busy wait polls and starves some writers for seconds.

The thread is a lane: requests may run in it up to their commit. Therefore it never waits for another process.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.conf import settings
from django.db import connection, transaction

from core import crashes, lane
from core.database import driver_errors, statements
from core.database.file_lock import FileLock
from core.database.jobs import run_all
from core.database.measures import COMMIT_GROUP, COMMIT_SECONDS, LOCK_SECONDS
from core.database.sqlite_file import Wal, touch
from core.database.waiter import Waiter
from core.errors import StorageUnavailable
from core.lane import Lane
from core.processes import PerProcess

T = TypeVar("T")
MAX_GROUP = 256
# How many jobs may wait that nobody waits for.
MAX_LATER = 10_000
# How long a commit waits for locks of others, such as readers in this process.
PATIENCE_SECONDS = 0.1
# The interval between attempts on a file that others have locked.
AGAIN_SECONDS = 0.2


class Locked(StorageUnavailable):
    """Another process keeps the database locked. Nothing was written."""


class Writer:
    """The only thread of this process that writes to SQLite.

    If another process holds the file's lock, callers wait for it as long as they may. Once it has been held for
    TAKHIN_PRODUCE_TIMEOUT, new callers are rejected immediately, until it is released.
    """

    def __init__(self) -> None:
        self._waiting: deque[Waiter] = deque()
        self._file_lock = FileLock()
        # Since when the file has been locked by others; None if it is not.
        self._blocked_since: float | None = None
        # Whether SQLite itself said so.
        self._was_locked = False
        self._try_at = 0.0
        self._connection: Any = None
        self._wal = Wal()
        self.lane = Lane("takhin-writer", self._settle, lambda: connection.close())

    def run(self, job: Callable[[], T], seconds: float) -> T:
        task = lane.current()
        if task is None and threading.current_thread() is self.lane.thread:
            # A job that runs another one.
            return job()
        self._refuse_if_blocked()
        waiter = Waiter(job)
        self._waiting.append(waiter)
        if task is None:
            self.lane.wake()
        result: T = self._result(waiter, seconds)
        return result

    def run_each(self, jobs: Sequence[Callable[[], T]], seconds: float) -> "list[T | Exception]":
        """Run several jobs, which wait together. Return the result or the error of each."""
        self._refuse_if_blocked()
        waiters = [Waiter(job) for job in jobs]
        self._waiting.extend(waiters)
        self.lane.wake()
        deadline = time.monotonic() + seconds
        results: list[T | Exception] = []
        for waiter in waiters:
            try:
                results.append(self._result(waiter, max(0.0, deadline - time.monotonic())))
            except Exception as error:
                results.append(error)
        return results

    def _result(self, waiter: Waiter, seconds: float) -> Any:
        if not waiter.done.wait(seconds):
            if waiter.give_up():
                self._refuse_if_blocked(seconds)
                raise StorageUnavailable(f"the database was busy for {seconds:g} seconds")
            waiter.done.wait(threading.TIMEOUT_MAX)
        # The error's frames refer to the waiter and this frame. This cycle would keep the caller's whole request alive.
        error, waiter.error = waiter.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error
        return waiter.result

    def run_later(self, job: Callable[[], object], failed: Callable[[StorageUnavailable], object]) -> bool:
        """Run a job that nobody waits for. Return False if too many jobs wait."""
        if len(self._waiting) >= MAX_LATER:
            return False
        self._waiting.append(Waiter(job, failed))
        if lane.current() is None:
            self.lane.wake()
        return True

    @property
    def is_blocked(self) -> bool:
        """Whether others have kept the file locked for longer than a commit takes."""
        since = self._blocked_since
        return since is not None and time.monotonic() - since > PATIENCE_SECONDS

    def _refuse_if_blocked(self, at_least: float | None = None) -> None:
        """Raises Locked."""
        since = self._blocked_since
        if since is None:
            return
        seconds = time.monotonic() - since
        if seconds >= (settings.TAKHIN_PRODUCE_TIMEOUT if at_least is None else min(at_least, 1)):
            raise Locked(f"another process has kept the database locked for {seconds:.0f} s")

    # In the writer's thread

    def _settle(self) -> float | None:
        """Commit what waits, if the file is free. Return after how many seconds to try again, or None."""
        while self._waiting or self._blocked_since is not None:
            now = time.monotonic()
            if now < self._try_at:
                return self._try_at - now
            try:
                if not self._file_lock.acquire(self.lane.wake):
                    self._blocked_since = self._blocked_since or now
                    return None
                try:
                    self._commit_next()
                finally:
                    self._file_lock.release()
            except Exception as error:
                # The lock file cannot be opened.
                self._fail(self._next_group(), error)
        return None

    def _next_group(self) -> list[Waiter]:
        group: list[Waiter] = []
        while self._waiting and len(group) < MAX_GROUP:
            waiter = self._waiting.popleft()
            if not waiter.has_given_up:
                group.append(waiter)
        return group

    def _commit_next(self) -> None:
        # The file may have been replaced since the last commit.
        connection.close_if_unusable_or_obsolete()
        group = self._next_group()
        if group or self._blocked_since is not None:
            self._commit(group)
            self._wal.bound()

    def _commit(self, group: list[Waiter]) -> None:
        """Run jobs and commit them together, or give each its error."""
        begun = time.monotonic()
        started: list[Waiter] = []
        try:
            self._attempt(group, started)
        except Exception as error:
            statements.forget()
            if driver_errors.is_unavailable(error):
                connection.close()
            if driver_errors.is_lock(error):
                self._put_back(group, started, begun)
            elif len(started) > 1:
                # One bad job must not fail its neighbours.
                for waiter in started:
                    waiter.put_back()
                for waiter in group:
                    self._commit([waiter])
            else:
                self._fail(group, error)
        else:
            if self._blocked_since is not None:
                LOCK_SECONDS.add(amount=time.monotonic() - self._blocked_since)
            self._blocked_since, self._was_locked = None, False
            for waiter in started:
                waiter.done.open()
            COMMIT_SECONDS.observe(time.monotonic() - begun)
            COMMIT_GROUP.observe(len(started))

    def _attempt(self, group: list[Waiter], started: list[Waiter]) -> None:
        """Run the jobs of the group whose callers have not given up, which are `started` then, and commit."""
        self._set_patience()
        with transaction.atomic():
            started += [waiter for waiter in group if waiter.start()]
            if not started:
                with connection.cursor() as cursor:
                    touch(cursor)
            for waiter, result in zip(started, run_all([waiter.job for waiter in started]), strict=True):
                waiter.result = result
            crashes.at("commit.before")
        crashes.at("commit.after")

    def _put_back(self, group: list[Waiter], started: list[Waiter], begun: float) -> None:
        """Let the group wait on, because others have locked the file. Nothing was written."""
        for waiter in started:
            waiter.put_back()
        self._waiting.extendleft(reversed(group))
        self._blocked_since, self._was_locked = self._blocked_since or begun, True
        self._try_at = time.monotonic() + min(AGAIN_SECONDS, time.monotonic() - self._blocked_since)

    def _fail(self, group: list[Waiter], error: Exception) -> None:
        self._blocked_since, self._was_locked = None, False
        driver_errors.forget_frames(error)
        if driver_errors.is_unavailable(error):
            cause, error = error, driver_errors.translate(error)
            error.__cause__ = cause
        for waiter in group:
            waiter.error = error
            waiter.done.open()
            if waiter.failed is not None and isinstance(error, StorageUnavailable):
                waiter.failed(error)

    def _set_patience(self) -> None:
        """Have SQLite wait briefly for locks, and not at all while they are known to be held."""
        seconds = 0.0 if self._was_locked else PATIENCE_SECONDS
        # This thread waits for locks itself, so that others learn when one is released.
        connection.is_patient = True  # type: ignore[attr-defined]
        connection.ensure_connection()
        if self._connection != (connection.connection, seconds):
            connection.connection.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
            self._connection = (connection.connection, seconds)


_writers = PerProcess(Writer)


def current() -> Writer:
    """Return this process's writer."""
    return _writers.get()


def end() -> None:
    """Stop this process's writer, if there is one."""
    writer = _writers.take()
    if writer is not None:
        writer.lane.end()
