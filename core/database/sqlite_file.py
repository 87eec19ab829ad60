"""Write to SQLite's file without changing its content, and keep its WAL small."""

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

# Beyond this size, the WAL is emptied as soon as no reader needs it.
MAX_WAL_BYTES = 64 * 1024 * 1024
WAL_SECONDS = 1.0


class Wal:
    def __init__(self) -> None:
        self._checked_at = 0.0

    def bound(self) -> None:
        """Empty a WAL that has grown because of long readers. SQLite itself only reuses it from the start."""
        now = time.monotonic()
        if now - self._checked_at < WAL_SECONDS or settings.TAKHIN_SQLITE_JOURNAL != "WAL":
            return
        self._checked_at = now
        wal = Path(f"{connection.settings_dict['NAME']}-wal")
        if connection.connection is not None and wal.exists() and wal.stat().st_size > MAX_WAL_BYTES:
            with contextlib.suppress(sqlite3.Error):
                connection.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def touch(cursor: Any) -> None:
    """Write to SQLite's file without changing its content."""
    version = cursor.execute("PRAGMA user_version").fetchone()[0]
    cursor.execute(f"PRAGMA user_version = {int(version)}")
