"""Write to SQLite from one thread per process, with one commit for all callers that wait at the same time.

SQLite allows one writer at a time and needs an fsync per commit, so the thread takes all queued jobs, commits them
together, and repeats. A single caller waits only for its own commit. Processes that share a file take turns with
`flock`, because SQLite's own busy wait polls and starves some writers for seconds.
"""

import errno
import fcntl
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.conf import settings
from django.db import connection, transaction

from core.database import driver_errors
from core.errors import StorageFull, StorageReadOnly, StorageUnavailable

T = TypeVar("T")
Job = Callable[[], Any]
MAX_GROUP = 256
# The interval between retries on a file that has been locked for long.
AGAIN_SECONDS = 0.2
_OF_LOCK_FILE: dict[int | None, type[StorageUnavailable]] = {
    errno.EROFS: StorageReadOnly,
    errno.EACCES: StorageReadOnly,
    errno.ENOSPC: StorageFull,
}


class _Waiter:
    __slots__ = ("_turn", "done", "error", "has_given_up", "is_started", "job", "result")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.result: Any = None
        self.error: Exception | None = None
        self.is_started = False
        self.has_given_up = False
        self._turn = threading.Lock()
        # A bare lock wakes its waiter faster than an Event or a Future.
        self.done = threading.Lock()
        self.done.acquire()

    def start(self) -> bool:
        """Claim the job for the writer; return False if its caller has given up."""
        self.is_started = self.is_started or self._turn.acquire(blocking=False)
        return self.is_started

    def give_up(self) -> bool:
        """Cancel the job; return False if it has started, in which case the caller must wait for its end."""
        self.has_given_up = self._turn.acquire(blocking=False)
        return self.has_given_up


class Writer:
    """The only thread of this process that writes to SQLite.

    It waits for another process's lock for as long as a caller may wait. If the lock is held longer, new callers are
    rejected immediately, while this thread keeps trying until the lock is released.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        # Since when this thread has been waiting for the file; None if it is not waiting.
        self._waiting_since: float | None = None
        self._is_ending = False
        self._queue: queue.SimpleQueue[_Waiter | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="takhin-writer", daemon=True)
        self._thread.start()

    def run(self, job: Callable[[], T], seconds: float) -> T:
        if threading.current_thread() is self._thread:
            return job()
        self._refuse_if_locked()
        waiter = _Waiter(job)
        self._queue.put(waiter)
        if not waiter.done.acquire(timeout=seconds):
            if waiter.give_up():
                raise StorageUnavailable(f"the database was busy for {seconds:g} seconds")
            waiter.done.acquire()
        # The error's frames refer to the waiter and this frame. This cycle would keep the caller's whole request alive.
        error, waiter.error = waiter.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error
        result: T = waiter.result
        return result

    def _refuse_if_locked(self) -> None:
        since = self._waiting_since
        if since is None:
            return
        seconds = time.monotonic() - since
        if seconds >= settings.TAKHIN_PRODUCE_TIMEOUT:
            raise StorageUnavailable(f"another process has kept the database locked for {seconds:.0f} s")

    def end(self) -> None:
        self._is_ending = True
        self._queue.put(None)
        self._thread.join()

    def _loop(self) -> None:
        # This thread waits for locks itself, so that others learn when one is released.
        connection.is_patient = True  # type: ignore[attr-defined]
        while self._serve(self._queue.get()):
            while self._waiting_since is not None and not self._is_ending:
                self._try_again()
        connection.close()

    def _serve(self, first: _Waiter | None) -> bool:
        """Commit all queued jobs; return False to stop. Not in the loop, so an idle writer keeps no request alive."""
        if first is None:
            return False
        group = [first]
        while len(group) < MAX_GROUP and not self._queue.empty() and (waiter := self._queue.get()) is not None:
            group.append(waiter)
        # The file may have been replaced since the last commit.
        connection.close_if_unusable_or_obsolete()
        self._commit(group)
        for waiter in group:
            waiter.done.release()
        return True

    def _commit(self, group: list[_Waiter]) -> None:
        """Run jobs and commit them together, or store the error in each."""
        while True:
            begun = time.monotonic()
            try:
                self._attempt(group)
                return
            except Exception as error:
                is_locked = driver_errors.is_lock(error)
                if driver_errors.is_unavailable(error):
                    connection.close()
                is_started = any(waiter.is_started for waiter in group)
                if is_locked and not is_started and not all(waiter.has_given_up for waiter in group):
                    continue
                # Readers in other processes may block the commit itself.
                self._waiting_since = (self._waiting_since or begun) if is_locked else None
                if len(group) == 1 or is_locked or not is_started:
                    _fail(group, error)
                    return
            # One bad job must not fail its neighbours.
            for waiter in group:
                self._commit([waiter])
            return

    def _attempt(self, group: list[_Waiter]) -> None:
        self._waiting_since = self._waiting_since or time.monotonic()
        with _file_lock(), transaction.atomic():
            self._waiting_since = None
            for waiter in group:
                if waiter.start():
                    waiter.result = waiter.job()

    def _try_again(self) -> None:
        """Try a commit without waiting: a commit that waits for readers would block other writers."""
        try:
            with _file_lock(), connection.cursor() as cursor:
                cursor.execute("PRAGMA busy_timeout = 0")
                with transaction.atomic():
                    touch(cursor)
            self._waiting_since = None
        except Exception as error:
            if driver_errors.is_lock(error):
                time.sleep(AGAIN_SECONDS)
            else:
                self._waiting_since = None
        finally:
            connection.close()


def touch(cursor: Any) -> None:
    """Write to SQLite's file without changing its content."""
    version = cursor.execute("PRAGMA user_version").fetchone()[0]
    cursor.execute(f"PRAGMA user_version = {int(version)}")


def _fail(group: list[_Waiter], error: Exception) -> None:
    driver_errors.forget_frames(error)
    if driver_errors.is_unavailable(error):
        cause, error = error, driver_errors.translate(error)
        error.__cause__ = cause
    for waiter in group:
        waiter.error = error


@contextmanager
def _file_lock() -> Iterator[None]:
    """Hold the lock on the database file. Raises StorageUnavailable if the lock file cannot be opened."""
    try:
        handle = os.open(f"{connection.settings_dict['NAME']}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        kind = _OF_LOCK_FILE.get(error.errno, StorageUnavailable)
        raise kind(f"the lock file of the database cannot be opened ({error.strerror})") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


_current: Writer | None = None
_making = threading.Lock()


def current() -> Writer:
    """Return this process's writer, created on first use because threads do not survive a fork."""
    global _current
    if _current is None or _current.pid != os.getpid():
        with _making:
            if _current is None or _current.pid != os.getpid():
                _current = Writer()
    return _current


def end() -> None:
    """Stop this process's writer, if there is one."""
    global _current
    if _current is not None:
        _current.end()
        _current = None
