"""How much room the disk of the database has left."""

import contextlib
import shutil
import time
from pathlib import Path

from django.conf import settings
from django.db import connection

from core.database.statements import is_sqlite

FRESH_SECONDS = 1.0
MIB = 1024 * 1024
_disk = {"looked_at": 0.0, "free": float("inf")}


def trouble() -> str | None:
    """Say that there is too little space, or return None. Deleting needs some, too."""
    if not is_sqlite():
        return None
    now = time.monotonic()
    if now - _disk["looked_at"] > FRESH_SECONDS:
        # A folder that is gone is the database's error to report.
        with contextlib.suppress(OSError):
            _disk["free"] = shutil.disk_usage(Path(connection.settings_dict["NAME"]).parent).free
        _disk["looked_at"] = now
    if _disk["free"] >= settings.TAKHIN_MIN_FREE_DISK:
        return None
    free, least = _disk["free"] / MIB, settings.TAKHIN_MIN_FREE_DISK / MIB
    return f"the disk has {free:.0f} MiB left; the least is {least:.0f} MiB (TAKHIN_MIN_FREE_DISK)"


def forget() -> None:
    """Look again next time. Tests call this between databases."""
    _disk["looked_at"] = 0.0
