"""Detect when the database does not answer, so that no request waits for it, and when it answers again."""

import os
import threading
import time
from collections.abc import Callable

import structlog

from core.database.driver_errors import DatabaseDown

log = structlog.get_logger("takhin.database")
# Seconds between checks. Each check probes the database while it is down, or if there is reason to.
EVERY_SECONDS = 0.2


class Outage:
    """Rejects all callers while the database is down. A single thread per process, the prober, finds out when that is.

    `probe` returns why the database does not answer, or an empty string if it does; it may take two seconds.
    `is_doubtful` tells whether there is reason to probe, besides calls of `suspect`. Callers are rejected once probes
    have failed for `patience` seconds without a success (`answered`); during shorter outages they wait. `down` releases
    whoever waits, at the beginning and at the end of an outage.
    """

    def __init__(
        self,
        probe: Callable[[], str],
        *,
        patience: float = 0.0,
        is_doubtful: Callable[[], bool] = lambda: False,
        down: Callable[[], object] = lambda: None,
    ) -> None:
        self._probe = probe
        self._patience = patience
        self._is_doubtful = is_doubtful
        self._down = down
        self._reason = ""
        # When the outage began; None while the database answers. Read for every cursor.
        self.opened_at: float | None = None
        self._failing_since: float | None = None
        self._answered_at = float("-inf")
        self._wanted = threading.Event()
        self._making = threading.Lock()
        self._pid = 0

    def admit(self) -> None:
        """Raise DatabaseDown while the database does not answer."""
        opened_at = self.opened_at
        if opened_at is not None:
            raise DatabaseDown(f"{self._reason} (for {time.monotonic() - opened_at:.0f} s)")

    def answered(self) -> None:
        """Note that a caller got an answer, which counts as a successful probe."""
        self._answered_at = time.monotonic()

    def suspect(self) -> None:
        """Note that a caller got no answer, and probe now."""
        self.watch()
        self._wanted.set()

    def watch(self) -> None:
        """Start the prober unless it runs in this process. Threads do not survive a fork."""
        if self._pid == os.getpid():
            return
        with self._making:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                self.opened_at = self._failing_since = None
                threading.Thread(target=self._loop, name="takhin-prober", daemon=True).start()

    def _loop(self) -> None:
        while True:
            is_wanted = self._wanted.wait(EVERY_SECONDS)
            if is_wanted or self._failing_since is not None or self._is_doubtful():
                self._wanted.clear()
                self._look()

    def _look(self) -> None:
        begun = time.monotonic()
        reason = self._probe()
        is_answering = time.monotonic() - self._answered_at < self._patience
        if not reason or (is_answering and self.opened_at is None):
            self._close()
            return
        self._reason, self._failing_since = reason, self._failing_since or begun
        if self.opened_at is None and time.monotonic() - self._failing_since >= self._patience:
            log.warning("database_unavailable", reason=reason)
            self.opened_at = self._failing_since
            self._down()

    def _close(self) -> None:
        if self.opened_at is not None:
            log.info("database_answers", seconds=round(time.monotonic() - self.opened_at, 1))
            # Connection attempts that began during the outage may wait long before they retry.
            self._down()
        self.opened_at = self._failing_since = None
