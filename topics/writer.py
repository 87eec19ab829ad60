"""Write to SQLite from one thread of this process, sharing one commit among callers that wait at the same moment.

SQLite has one writer at a time and pays an fsync per commit, so the thread takes whatever is queued, commits it
together, and repeats. An idle caller waits for its own commit alone. Processes on one file take turns by an `flock`,
because SQLite's own busy wait is a sleep-and-poll that starves some writers for seconds.
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

from topics import trouble
from topics.errors import LogUnavailable, StorageFull, StorageReadOnly

T = TypeVar("T")
Job = Callable[[], Any]
MAX_GROUP = 256
# Between two looks at a file that has been locked for long.
AGAIN_SECONDS = 0.2
_OF_LOCK_FILE: dict[int | None, type[LogUnavailable]] = {
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
        """Whether the writer may run the job: its caller has not given up before."""
        self.is_started = self.is_started or self._turn.acquire(blocking=False)
        return self.is_started

    def give_up(self) -> bool:
        """Whether the caller may go: the job will not run. Once it runs, its end must be awaited."""
        self.has_given_up = self._turn.acquire(blocking=False)
        return self.has_given_up


class Writer:
    """The one thread of this process that writes to SQLite.

    A lock that another process holds is waited for as long as a caller may wait. One that is held longer than that
    has every new caller refused at once, and this thread, which goes on trying, is what notices its end.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        # Since when this thread has waited for its turn at the file, in vain so far.
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
                raise LogUnavailable(f"the database was busy for {seconds:g} seconds")
            waiter.done.acquire()
        # Its frames know the waiter and this frame: together they would keep the caller's whole request as garbage.
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
            raise LogUnavailable(f"another process has kept the database locked for {seconds:.0f} s")

    def end(self) -> None:
        self._is_ending = True
        self._queue.put(None)
        self._thread.join()

    def _loop(self) -> None:
        # It waits for locks itself, and is how others learn that one has ended.
        connection.is_patient = True  # type: ignore[attr-defined]
        while self._serve(self._queue.get()):
            while self._waiting_since is not None and not self._is_ending:
                self._try_again()
        connection.close()

    def _serve(self, first: _Waiter | None) -> bool:
        """Commit whatever is queued, apart from the loop so that an idle writer holds no request; False at the end."""
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
        """Run these jobs and commit them together, or note in each what it failed with."""
        while True:
            begun = time.monotonic()
            try:
                self._attempt(group)
                return
            except Exception as error:
                is_locked = trouble.is_lock(error)
                if trouble.is_trouble(error):
                    connection.close()
                is_started = any(waiter.is_started for waiter in group)
                if is_locked and not is_started and not all(waiter.has_given_up for waiter in group):
                    continue
                # Readers of other processes hold up the commit itself.
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
        """See whether a commit goes through by now, without waiting: one that waits for readers keeps others out."""
        try:
            with _file_lock(), connection.cursor() as cursor:
                cursor.execute("PRAGMA busy_timeout = 0")
                with transaction.atomic():
                    touch(cursor)
            self._waiting_since = None
        except Exception as error:
            if trouble.is_lock(error):
                time.sleep(AGAIN_SECONDS)
            else:
                self._waiting_since = None
        finally:
            connection.close()


def touch(cursor: Any) -> None:
    """Write to SQLite's file what stands there already."""
    version = cursor.execute("PRAGMA user_version").fetchone()[0]
    cursor.execute(f"PRAGMA user_version = {int(version)}")


def _fail(group: list[_Waiter], error: Exception) -> None:
    trouble.forget_frames(error)
    if trouble.is_trouble(error):
        cause, error = error, trouble.of(error)
        error.__cause__ = cause
    for waiter in group:
        waiter.error = error


@contextmanager
def _file_lock() -> Iterator[None]:
    """Take this process's turn at the database file. Raises LogUnavailable when the lock's file cannot be opened."""
    try:
        handle = os.open(f"{connection.settings_dict['NAME']}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        kind = _OF_LOCK_FILE.get(error.errno, LogUnavailable)
        raise kind(f"the lock file of the database cannot be opened ({error.strerror})") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


_current: Writer | None = None
_making = threading.Lock()


def current() -> Writer:
    """This process's writer, made on first use: a thread does not survive a fork."""
    global _current
    if _current is None or _current.pid != os.getpid():
        with _making:
            if _current is None or _current.pid != os.getpid():
                _current = Writer()
    return _current


def end() -> None:
    """End this process's writer, if there is one."""
    global _current
    if _current is not None:
        _current.end()
        _current = None
