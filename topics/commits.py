"""Run database work durably, sharing one commit among callers that wait at the same moment.

SQLite has one writer at a time and pays an fsync per commit, so on SQLite one thread of this process
does all writing: it takes whatever is queued, commits it together, and repeats. An idle caller waits for
its own commit alone. Processes on one file take turns by an `flock`, because SQLite's own busy wait is
a sleep-and-poll that starves some writers for seconds. PostgreSQL needs none of this.
"""

import fcntl
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.conf import settings
from django.db import InterfaceError, InternalError, OperationalError, ProgrammingError, connection, transaction

from topics.errors import LogUnavailable, OutcomeUnknown, StorageFull

T = TypeVar("T")
Job = Callable[[], Any]
MAX_GROUP = 256
# What the database says when it cannot serve now; a constraint's error is the job's own. A table that is missing
# until the migrations have run is a programming error to PostgreSQL.
TROUBLE = (OperationalError, InterfaceError, InternalError, ProgrammingError)
# https://www.postgresql.org/docs/15/errcodes-appendix.html
POSTGRES_DISK_FULL = "53100"


def run(job: Callable[[], T], seconds: float | None = None) -> T:
    """Run `job` in a transaction and return its result once that is committed.

    A caller whose turn does not come within `seconds`, else TAKHIN_PRODUCE_TIMEOUT, is told that nothing was written.

    `job` may run more than once and must do nothing but database work. What it raises rolls its own work
    back and is raised here. Raises LogUnavailable when the database cannot be written now, and OutcomeUnknown when it
    was lost while it committed.
    """
    if connection.vendor == "sqlite":
        return _writer().run(job, seconds or settings.TAKHIN_PRODUCE_TIMEOUT)
    is_done = False
    try:
        with transaction.atomic(durable=True):
            if seconds is not None:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{max(1, int(seconds * 1000))}ms"])
            result = job()
            is_done = True
    except TROUBLE as error:
        if is_done:
            raise OutcomeUnknown("the database was lost while it committed") from error
        raise _translate(error) from error
    return result


@contextmanager
def translated() -> Iterator[None]:
    """Turn the database's own errors into the log's."""
    try:
        yield
    except TROUBLE as error:
        raise _translate(error) from error


def _translate(error: Exception) -> LogUnavailable:
    name = getattr(error.__cause__, "sqlite_errorname", "")
    is_full = getattr(error.__cause__, "sqlstate", "") == POSTGRES_DISK_FULL
    if is_full or name == "SQLITE_FULL" or name.startswith("SQLITE_IOERR"):
        return StorageFull("the disk of the embedded log is full or failing")
    return LogUnavailable("the database cannot be reached or is busy")


class _Waiter:
    __slots__ = ("_turn", "done", "error", "is_started", "job", "result")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.result: Any = None
        self.error: Exception | None = None
        self.is_started = False
        self._turn = threading.Lock()
        # A bare lock wakes its waiter faster than an Event or a Future.
        self.done = threading.Lock()
        self.done.acquire()

    def start(self) -> bool:
        """Whether the writer may run the job: its caller has not given up before."""
        self.is_started = self.is_started or self._turn.acquire(blocking=False)
        return self.is_started

    def give_up(self) -> bool:
        """Whether the caller may go: the job will not run. Once it runs, its end must be awaited."""
        return self._turn.acquire(blocking=False)


class _Writer:
    """The one thread of this process that writes to SQLite."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._queue: queue.SimpleQueue[_Waiter | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="takhin-writer", daemon=True)
        self._thread.start()

    def run(self, job: Callable[[], T], seconds: float) -> T:
        if threading.current_thread() is self._thread:
            return job()
        waiter = _Waiter(job)
        self._queue.put(waiter)
        if not waiter.done.acquire(timeout=seconds):
            if waiter.give_up():
                raise LogUnavailable(f"the database was busy for {seconds:g} seconds")
            waiter.done.acquire()
        if waiter.error is not None:
            raise waiter.error
        result: T = waiter.result
        return result

    def end(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _loop(self) -> None:
        while (first := self._queue.get()) is not None:
            group = [first]
            while len(group) < MAX_GROUP and not self._queue.empty() and (waiter := self._queue.get()) is not None:
                group.append(waiter)
            self._commit(group)
            for waiter in group:
                waiter.done.release()
        connection.close()

    def _commit(self, group: list[_Waiter]) -> None:
        try:
            with _file_lock(), transaction.atomic():
                for waiter in group:
                    if waiter.start():
                        waiter.result = waiter.job()
        except Exception as error:
            if isinstance(error, TROUBLE):
                connection.close()
            if len(group) == 1:
                group[0].error = _as_ours(error)
                return
            # One bad job must not fail its neighbours.
            for waiter in group:
                self._commit([waiter])


def _as_ours(error: Exception) -> Exception:
    if isinstance(error, TROUBLE):
        ours = _translate(error)
        ours.__cause__ = error
        return ours
    return error


@contextmanager
def _file_lock() -> Iterator[None]:
    """Take this process's turn at the database file."""
    handle = os.open(f"{connection.settings_dict['NAME']}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def close() -> None:
    """End this process's writer and its connections, before a fork that must not inherit them."""
    global _current
    connection.close()
    if connection.vendor == "postgresql":
        connection.close_pool()  # type: ignore[attr-defined]
    if _current is not None:
        _current.end()
        _current = None


_current: _Writer | None = None
_making = threading.Lock()


def _writer() -> _Writer:
    """This process's writer, made on first use: a thread does not survive a fork."""
    global _current
    if _current is None or _current.pid != os.getpid():
        with _making:
            if _current is None or _current.pid != os.getpid():
                _current = _Writer()
    return _current
