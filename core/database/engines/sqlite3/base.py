"""Django's SQLite backend, but it fails fast while another process locks the file, and detects a missing file.

SQLite waits for a lock as long as the setting `timeout` says. Once a reader has timed out, other readers are rejected
until the prober can read again. The writer is exempt: see core/database/group_commit.py.
"""

import sqlite3
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.backends.sqlite3 import base
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property

from core import lane
from core.database.engines.outage import Outage

_LOCKED = ("SQLITE_BUSY", "SQLITE_LOCKED")
# A connection whose file is missing or replaced is closed within this time.
LOOK_SECONDS = 0.25
# Database files that this process has seen: the next connection must not recreate a missing file as an empty one.
_seen: set[str] = set()


class _Noting(DatabaseErrorWrapper):
    wrapper: "DatabaseWrapper"

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            return
        if getattr(error, "sqlite_errorname", "").startswith(_LOCKED):
            self.wrapper.waited_in_vain()
        super().__exit__(kind, error, trace)


class DatabaseWrapper(base.DatabaseWrapper):
    # Whether this connection waits for locks even while others are rejected.
    is_patient = False
    _file: tuple[int, int] | None = None
    _look_again_at = 0.0

    @cached_property
    def wrap_database_errors(self) -> DatabaseErrorWrapper:
        return _Noting(self)

    def _cursor(self, name: Any = None) -> Any:
        if outage.opened_at is not None and not self.is_patient:
            outage.admit()
        return super()._cursor(name)  # type: ignore[misc]

    def waited_in_vain(self) -> None:
        if self.is_patient:
            # A request that shares the writer's connection has read. In a thread of its own it may wait.
            lane.leave()
        else:
            _probed.path = str(self.settings_dict["NAME"])
            outage.suspect()

    def get_new_connection(self, conn_params: Any) -> Any:
        path = str(self.settings_dict["NAME"])
        if path in _seen and _identity(path) is None:
            error = sqlite3.OperationalError("the file no longer exists")
            error.sqlite_errorname = "SQLITE_CANTOPEN"
            raise error
        made = super().get_new_connection(conn_params)
        _set_journal(made, conn_params.get("timeout", 0))
        self._file = _identity(path)
        if self._file is not None:
            _seen.add(path)
        return made

    def close_if_unusable_or_obsolete(self) -> None:
        now = time.monotonic()
        if self.connection is not None and now > self._look_again_at:
            self._look_again_at = now + LOOK_SECONDS
            if self._file != _identity(str(self.settings_dict["NAME"])):
                self.close()
        # Django would find nothing else, and takes its time.
        if self.errors_occurred or not self.autocommit or self.close_at is not None:
            super().close_if_unusable_or_obsolete()

    def is_usable(self) -> bool:
        """Django calls this only after an error. Return False to reconnect, which detects a changed file."""
        return False


def _set_journal(connection: Any, seconds: float) -> None:
    """Set the journal mode, unless the file has it already.

    SQLite does not wait for other connections here, so this does: https://sqlite.org/pragma.html#pragma_journal_mode
    """
    deadline = time.monotonic() + seconds
    while connection.execute("PRAGMA journal_mode").fetchone()[0].upper() != settings.TAKHIN_SQLITE_JOURNAL:
        try:
            connection.execute(f"PRAGMA journal_mode={settings.TAKHIN_SQLITE_JOURNAL}").fetchone()
            return
        except sqlite3.OperationalError as error:
            if not getattr(error, "sqlite_errorname", "").startswith(_LOCKED) or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class _Probed:
    path = ""


_probed = _Probed()


def _probe() -> str:
    """Return why the file cannot be read, considering only locks: any other problem fails immediately anyway."""
    try:
        connection = sqlite3.connect(f"file:{_probed.path}?mode=ro", timeout=0, uri=True)
        try:
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "").startswith(_LOCKED):
            return "another process keeps the database locked"
    return ""


outage = Outage(_probe)
