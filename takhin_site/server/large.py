"""Run large requests one after another, and tell how long the next one would wait.

The interpreter runs one thread at a time. If several threads decode large bodies, the event loop gets the interpreter
for a small share of the time, and everybody waits: probes, rejections and the large requests themselves. A request that
waits for its commit, or for a broker, lets the next one go on.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from core import turns
from takhin_site.server import limits
from takhin_site.server.answers import MakeEnviron, Result
from takhin_site.server.incoming import Incoming


class _Turn:
    __slots__ = ("began", "done", "make_environ", "size")

    def __init__(self, size: int, make_environ: MakeEnviron, done: Callable[[Result], None]) -> None:
        self.size = size
        self.make_environ = make_environ
        self.done = done
        self.began: float | None = None


class LargeRequests:
    """The large requests that wait for their turn, and the one whose turn it is."""

    def __init__(
        self, submit: Callable[[MakeEnviron, Callable[[Result], None]], None], give_way: Callable[[], object]
    ) -> None:
        self._submit = submit
        self._give_way = give_way
        self._lock = threading.Lock()
        self._waiting: deque[_Turn] = deque()
        self._holder: _Turn | None = None
        # Requests that were accepted a moment ago, and whose bodies are arriving. The event loop's own.
        self._arriving: deque[Incoming] = deque()
        # Of all that have arrived and have not ended their turn.
        self._bytes = 0
        # Of the latest turns, on average.
        self._turn_seconds, self._turn_bytes = 1.0, float(limits.LARGE_BYTES_PER_SECOND)

    def has_room(self, request: Incoming, now: float) -> bool:
        """Return whether a request would have its turn soon enough. One that has arrived may wait longer."""
        before = len(self._waiting) + (self._holder is not None)
        if request.is_complete:
            return self._is_soon(before, self._bytes, 2 * limits.LARGE_WAIT_SECONDS)
        while self._arriving and now - self._arriving[0].began > limits.LARGE_ARRIVING_SECONDS:
            self._arriving.popleft()
        arriving = [one for one in self._arriving if not (one.is_complete or one.refusal)]
        size = self._bytes + sum(one.declared or one.size for one in arriving)
        return self._is_soon(before + len(arriving), size, limits.LARGE_WAIT_SECONDS)

    def expect(self, request: Incoming, now: float) -> bool:
        """Count on a request that is arriving, if there is room for it. Return whether there is.

        Call this once its key has been checked: others must not take the room of those that have one.
        """
        if not self.has_room(request, now):
            return False
        self._arriving.append(request)
        return True

    def _is_soon(self, before: int, size: int, seconds: float) -> bool:
        return before < limits.LARGE_TOGETHER or size * self._turn_seconds / self._turn_bytes < seconds

    def start(self, size: int, make_environ: MakeEnviron, done: Callable[[Result], None]) -> None:
        with self._lock:
            self._bytes += size
            self._waiting.append(_Turn(size, make_environ, done))
        self._next()

    def rescue(self) -> None:
        """Go on with the next request if one has kept its turn for too long."""
        holder = self._holder
        if holder is None or holder.began is None or time.monotonic() - holder.began < limits.LARGE_TURN_SECONDS:
            return
        with self._lock:
            if self._holder is holder:
                self._holder = None
        self._next()

    def _next(self) -> None:
        with self._lock:
            if self._holder is not None or not self._waiting:
                return
            turn = self._holder = self._waiting.popleft()
        self._submit(partial(self._begin, turn), turn.done)

    def _begin(self, turn: _Turn) -> dict[str, Any]:
        turns.begin(partial(self._end, turn), self._give_way)
        environ = turn.make_environ()
        turn.began = time.monotonic()
        return environ

    def _end(self, turn: _Turn) -> None:
        with self._lock:
            self._bytes -= turn.size
            if turn.began is not None:
                self._turn_seconds += (time.monotonic() - turn.began - self._turn_seconds) * limits.LARGE_WEIGHT
                self._turn_bytes += (turn.size - self._turn_bytes) * limits.LARGE_WEIGHT
            if self._holder is turn:
                self._holder = None
        self._next()
