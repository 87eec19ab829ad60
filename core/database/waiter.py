"""A job that waits to be committed, and its caller, who may give up before it starts."""

import threading
from collections.abc import Callable
from typing import Any

from core.errors import StorageUnavailable
from core.lane import Gate


class Waiter:
    __slots__ = ("_turn", "done", "error", "failed", "has_given_up", "job", "result")

    def __init__(self, job: Callable[[], Any], failed: Callable[[StorageUnavailable], object] | None = None) -> None:
        self.job = job
        self.failed = failed
        self.result: Any = None
        self.error: Exception | None = None
        self.has_given_up = False
        self._turn = threading.Lock()
        self.done = Gate()

    def start(self) -> bool:
        """Claim the job for the writer; return False if its caller has given up."""
        return self._turn.acquire(blocking=False)

    def put_back(self) -> None:
        """Undo `start` after a rollback, so that the caller may give up."""
        self._turn.release()

    def give_up(self) -> bool:
        """Cancel the job; return False if it has started, in which case the caller must wait for its end."""
        self.has_given_up = self._turn.acquire(blocking=False)
        return self.has_given_up
