"""Check whether this process can serve, without making the caller wait."""

import threading
import time
from collections.abc import Callable

import structlog
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor

from core.database import disk, transactions
from core.errors import StorageUnavailable
from producer.models import ProduceRequest
from producer.queue import backlog, threads
from registry.errors import RegistryUnavailable
from registry.sources import current_source
from topics.log import current_log
from topics.log.embedded import writability
from topics.log.errors import LogRefused

log = structlog.get_logger("takhin.health")
# A probe gets its response within a second, even if a check hangs.
ANSWER_SECONDS = 0.8
# For this long, a slow check keeps its previous result: a commit may briefly wait for the disk.
PATIENCE_SECONDS = 2.0

# What is wrong, by check. Empty text means that the check passed.
Reasons = dict[str, str]


def _database() -> None:
    with transactions.translated():
        # Read the table that gets the rows, not only its index.
        ProduceRequest.objects.defer("body").order_by("-pk").first()
    writability.check()


def _disk() -> str | None:
    return disk.trouble()


def _log() -> None:
    current_log().check()


_migrated = False


def _migrations() -> str | None:
    """Check that every migration of this version has been applied. Once true, it stays true for this process."""
    global _migrated
    if not _migrated:
        with transactions.translated():
            executor = MigrationExecutor(connection)
            _migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    return None if _migrated else "the database lacks this version's migrations: run takhin migrate"


def _workers() -> str | None:
    return threads.trouble()


def _backlog() -> str | None:
    return backlog.trouble()


def _schema_registry() -> None:
    current_source().check()


CHECKS: dict[str, Callable[[], str | None]] = {
    "database": _database,
    "disk": _disk,
    "log": _log,
    "migrations": _migrations,
    "workers": _workers,
    "backlog": _backlog,
    "schemaRegistry": _schema_registry,
}


class _Run:
    """Runs all checks in sequence, in its own thread."""

    def __init__(self) -> None:
        self.reasons: Reasons = {}
        self.current = ""
        self.begun = time.monotonic()
        self.ended = threading.Event()
        threading.Thread(target=self._run, name="takhin-checkup", daemon=True).start()

    def _run(self) -> None:
        try:
            for name, check in CHECKS.items():
                self.current = name
                self.reasons[name] = _reason(check)
        finally:
            self.ended.set()
            # A reused connection would show the file as it was when its pages were read.
            connections.close_all()


def _reason(check: Callable[[], str | None]) -> str:
    try:
        return check() or ""
    except (StorageUnavailable, LogRefused, RegistryUnavailable) as error:
        return str(error)
    except Exception as error:
        log.exception("check_failed")
        return f"the check failed: {error}"


class Checkup:
    """Runs the checks once for all concurrent callers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._run: _Run | None = None
        self._last: Reasons = {}

    def reasons(self) -> Reasons:
        """Return what is wrong, by check, within ANSWER_SECONDS."""
        with self._lock:
            if self._run is None or self._run.ended.is_set():
                # It may have ended after its callers had left.
                self._last = self._run.reasons if self._run is not None else self._last
                self._run = _Run()
            run = self._run
        # Measured from the start of the checks, not of each call, because calls may follow one another.
        if run.ended.wait(max(0.0, run.begun + ANSWER_SECONDS - time.monotonic())):
            self._last = run.reasons
            return run.reasons
        seconds = time.monotonic() - run.begun
        if self._last and seconds < PATIENCE_SECONDS:
            return self._last
        known = {**dict.fromkeys(CHECKS, ""), **self._last, **run.reasons}
        return {**known, run.current: f"no response for {seconds:.1f} seconds"}


# This process's.
current = Checkup()
