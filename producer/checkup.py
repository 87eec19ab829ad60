"""Find out whether this process can serve, without keeping whoever asks waiting."""

import threading
import time
from collections.abc import Callable

import structlog
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor

from producer import background
from producer.errors import RegistryUnavailable
from producer.models import ProduceRequest
from producer.schemas import current_source
from topics import commits, writability
from topics.errors import LogRefused, LogUnavailable
from topics.logs import current_log

log = structlog.get_logger("takhin.health")
# A probe is answered within a second, whatever happens to what it asks about.
ANSWER_SECONDS = 0.8
# Until then what was true before is thought to be true still: a commit may wait for the disk for a moment.
PATIENCE_SECONDS = 2.0

# Of every check, what is wrong: empty when all is well.
Reasons = dict[str, str]


def _database() -> None:
    with commits.translated():
        # The table where rows are added, not its index alone.
        ProduceRequest.objects.defer("body").order_by("-pk").first()
    writability.check()


def _log() -> None:
    current_log().check()


_migrated = False


def _migrations() -> str | None:
    """Whether every migration of this version has been applied; once true, it stays so for this process."""
    global _migrated
    if not _migrated:
        with commits.translated():
            executor = MigrationExecutor(connection)
            _migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    return None if _migrated else "the database lacks this version's migrations: run manage.py migrate"


def _workers() -> str | None:
    return None if background.workers_are_alive() else "a worker has been stuck for a minute, or the log rejects it"


def _schema_registry() -> None:
    current_source().check()


CHECKS: dict[str, Callable[[], str | None]] = {
    "database": _database,
    "log": _log,
    "migrations": _migrations,
    "workers": _workers,
    "schemaRegistry": _schema_registry,
}


class _Run:
    """All checks, one after the other, in a thread of its own."""

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
            # A connection of before would show a file as it was when its pages were read.
            connections.close_all()


def _reason(check: Callable[[], str | None]) -> str:
    try:
        return check() or ""
    except (LogUnavailable, LogRefused, RegistryUnavailable) as error:
        return str(error)
    except Exception as error:
        log.exception("check failed")
        return f"the check failed: {error}"


class Checkup:
    """Runs the checks for everybody who asks at the same time at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._run: _Run | None = None
        self._last: Reasons = {}

    def reasons(self) -> Reasons:
        """What is wrong, by check, within ANSWER_SECONDS."""
        with self._lock:
            if self._run is None or self._run.ended.is_set():
                self._run = _Run()
            run = self._run
        # Of the checks' time, not of each caller's: many may ask one after the other.
        if run.ended.wait(max(0.0, run.begun + ANSWER_SECONDS - time.monotonic())):
            self._last = run.reasons
            return run.reasons
        seconds = time.monotonic() - run.begun
        if self._last and seconds < PATIENCE_SECONDS:
            return self._last
        known = {**dict.fromkeys(CHECKS, ""), **self._last, **run.reasons}
        return {**known, run.current: f"no response for {seconds:.1f} seconds"}
