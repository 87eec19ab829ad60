"""Objects that exist once in each process."""

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """An object of this process, made on first use, because threads do not survive a fork."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._making = threading.Lock()
        self._made: T | None = None
        self._pid = 0

    def get(self) -> T:
        if self._made is None or self._pid != os.getpid():
            with self._making:
                if self._made is None or self._pid != os.getpid():
                    self._made, self._pid = self._make(), os.getpid()
        return self._made

    def take(self) -> T | None:
        """Return the object and forget it, or None if this process has none."""
        made, self._made = self._made, None
        return made if self._pid == os.getpid() else None
