"""Commit the requests of a lane together on PostgreSQL.

PostgreSQL lets many write at the same time, so threads commit on their own. A request of a lane shares a transaction
with those that wait at the same moment, which takes a few round trips instead of several for each.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.db import Error, connection, transaction

from core import crashes, lane
from core.database import driver_errors, statements
from core.database.jobs import run_all
from core.database.measures import COMMIT_GROUP, COMMIT_SECONDS
from core.errors import OutcomeUnknown, StorageUnavailable
from core.lane import Elsewhere, Gate, Lane
from core.processes import PerProcess

T = TypeVar("T")
MAX_GROUP = 256
# How long the lane waits for a row that others have locked. Its requests then continue in threads, which may wait.
LOCK_SECONDS = 0.1
LOCK_NOT_AVAILABLE = "55P03"


class _Waiter:
    __slots__ = ("done", "error", "job", "result")

    def __init__(self, job: Callable[[], Any]) -> None:
        self.job = job
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = Gate()


def commit(job: Callable[[], T], seconds: float | None) -> T:
    """Commit one job: in the lane together with others, or in this thread, which waits for locks for `seconds`."""
    return commit_here([job], seconds)[0] if lane.current() is None else current().run(job)


def commit_each(jobs: Sequence[Callable[[], T]]) -> "list[T | Exception]":
    """Commit several jobs in this thread, together if possible. Return the result or the error of each."""
    try:
        return list(commit_here(jobs, None))
    except Exception as error:
        if _concerns_all(error):
            return [error for _ in jobs]
        # One bad job must not fail its neighbours.
        return [error] if len(jobs) == 1 else [result for job in jobs for result in commit_each([job])]


def commit_here(jobs: Sequence[Callable[[], T]], seconds: float | None) -> list[T]:
    """Run the jobs in one transaction, in this thread, waiting for locks for `seconds` (default: 10).

    Raises StorageUnavailable and what the jobs raise, with nothing written, and OutcomeUnknown.
    """
    is_done = False
    begun = time.monotonic()
    try:
        with transaction.atomic(durable=True):
            if seconds is not None:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{max(1, int(seconds * 1000))}ms"])
            results = run_all(jobs)
            crashes.at("commit.before")
            is_done = True
        crashes.at("commit.after")
    except Error as error:
        if not driver_errors.is_unavailable(error):
            driver_errors.forget_frames(error)
            raise
        if is_done:
            raise OutcomeUnknown("the connection to the database was lost during the commit") from error
        raise driver_errors.translate(error) from error
    except Exception as error:
        driver_errors.forget_frames(error)
        raise
    finally:
        statements.forget()
    COMMIT_SECONDS.observe(time.monotonic() - begun)
    COMMIT_GROUP.observe(len(jobs))
    return results


class Writer:
    """The lane, whose thread commits. Only its tasks call `run`."""

    is_blocked = False

    def __init__(self) -> None:
        self._waiting: list[_Waiter] = []
        self.lane = Lane("takhin-writer", self._settle, lambda: connection.close())

    def run(self, job: Callable[[], T]) -> T:
        """Run the job in a transaction. Raises what it raises, and what `transactions.commit` raises."""
        waiter = _Waiter(job)
        self._waiting.append(waiter)
        waiter.done.wait(threading.TIMEOUT_MAX)
        error, waiter.error = waiter.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error
        result: T = waiter.result
        return result

    def _settle(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
            self._commit(group)
            for waiter in group:
                waiter.done.open()

    def _commit(self, group: list[_Waiter]) -> None:
        try:
            results = commit_here([waiter.job for waiter in group], LOCK_SECONDS)
        except Exception as error:
            if len(group) == 1 or _concerns_all(error):
                # A thread may wait longer for a lock, and rejects the request if that is no help.
                is_locked = _is_lock_timeout(error)
                for waiter in group:
                    waiter.error = Elsewhere() if is_locked else error
                return
            # One bad job must not fail its neighbours.
            for waiter in group:
                self._commit([waiter])
        else:
            for waiter, result in zip(group, results, strict=True):
                waiter.result = result


def _concerns_all(error: Exception) -> bool:
    """Whether the database itself failed, and not one of the jobs, which may also raise a StorageUnavailable."""
    is_unavailable = isinstance(error, StorageUnavailable) and isinstance(error.__cause__, Error)
    return is_unavailable or isinstance(error, OutcomeUnknown)


def _is_lock_timeout(error: Exception) -> bool:
    driver_error = error.__cause__.__cause__ if error.__cause__ is not None else None
    return getattr(driver_error, "sqlstate", None) == LOCK_NOT_AVAILABLE


_writers = PerProcess(Writer)


def current() -> Writer:
    """Return this process's writer."""
    return _writers.get()


def end() -> None:
    """Stop this process's writer, if there is one."""
    writer = _writers.take()
    if writer is not None:
        writer.lane.end()
