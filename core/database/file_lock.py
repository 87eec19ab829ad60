"""The lock by which processes take turns to write to one SQLite file."""

import contextlib
import errno
import fcntl
import os
import queue
import threading
from collections.abc import Callable

from django.db import connection

from core.errors import StorageFull, StorageReadOnly, StorageUnavailable

_KINDS: dict[int | None, type[StorageUnavailable]] = {
    errno.EROFS: StorageReadOnly,
    errno.EACCES: StorageReadOnly,
    errno.ENOSPC: StorageFull,
}


class FileLock:
    """The database file's lock. One thread acquires and releases it, and never waits: another thread does that."""

    def __init__(self) -> None:
        self._handle: int | None = None
        self._is_held = self._is_waiting = False
        self._wanted: queue.SimpleQueue[Callable[[], object]] | None = None

    def acquire(self, acquired: Callable[[], object]) -> bool:
        """Return whether the lock is held now. If not, `acquired` is called when it is, from another thread.

        Raises StorageUnavailable if the lock file cannot be opened.
        """
        if self._is_waiting:
            return False
        if not self._is_held:
            self._handle = _open()
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._is_held = True
            except BlockingIOError:
                self._wait(acquired)
        return self._is_held

    def release(self) -> None:
        assert self._handle is not None
        os.close(self._handle)
        self._handle, self._is_held = None, False

    def _wait(self, acquired: Callable[[], object]) -> None:
        self._is_waiting = True
        if self._wanted is None:
            self._wanted = queue.SimpleQueue()
            threading.Thread(target=self._loop, args=[self._wanted], name="takhin-lock", daemon=True).start()
        self._wanted.put(acquired)

    def _loop(self, wanted: "queue.SimpleQueue[Callable[[], object]]") -> None:
        while True:
            acquired = wanted.get()
            assert self._handle is not None
            # Without it, processes do not take turns, but SQLite's own lock still keeps them apart.
            with contextlib.suppress(OSError):
                fcntl.flock(self._handle, fcntl.LOCK_EX)
            self._is_held, self._is_waiting = True, False
            acquired()


def _open() -> int:
    try:
        return os.open(f"{connection.settings_dict['NAME']}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        kind = _KINDS.get(error.errno, StorageUnavailable)
        raise kind(f"the lock file of the database cannot be opened ({error.strerror})") from error
