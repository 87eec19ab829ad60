"""A circuit breaker: stop sending to a cluster that does not answer, until it answers again."""

import threading
import time
from collections.abc import Callable

from core.errors import StorageUnavailable

# The breaker opens after this many requests in a row without an acknowledged record.
MOST_FAILURES = 5


class Breaker:
    """Closed while the cluster serves; open, it rejects requests immediately.

    A successful probe makes it half-open. It then admits one request at a time, and a success closes it. The lock
    protects only the counters and is never held during a call.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._opened_at: float | None = None
        self._half_open = False
        self._trial_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether requests are rejected; half-open counts as serving."""
        return self._opened_at is not None and not self._half_open

    def admit(self, trial_seconds: float) -> None:
        """Raise StorageUnavailable unless a request may be sent; a trial request must end within `trial_seconds`."""
        if self._opened_at is None:
            return
        with self._lock:
            if self._opened_at is None:
                return
            now = self._clock()
            if self._half_open and now >= self._trial_until:
                self._trial_until = now + trial_seconds
                return
            seconds = int(now - self._opened_at)
        raise StorageUnavailable(f"the Kafka cluster has not answered for {seconds} seconds")

    def succeeded(self) -> None:
        if self._failures == 0 and self._opened_at is None:
            return
        with self._lock:
            self._failures = 0
            self._opened_at = None
            self._half_open = False

    def failed(self) -> None:
        """Note a request without any record acknowledged in time."""
        with self._lock:
            self._failures += 1
            if self._half_open or self._failures >= MOST_FAILURES:
                self._open()

    def unreachable(self) -> None:
        """Note a failed probe."""
        with self._lock:
            self._open()

    def reachable(self) -> None:
        """Note a successful probe."""
        with self._lock:
            if self._opened_at is not None and not self._half_open:
                self._half_open = True
                self._trial_until = 0.0

    def _open(self) -> None:
        self._half_open = False
        if self._opened_at is None:
            self._opened_at = self._clock()
