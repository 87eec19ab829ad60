"""The metrics of the database that are looked up when somebody asks."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from django.db import connection

from core.database.statements import is_sqlite
from core.metrics.observers import Observed


def observe() -> Iterator[Observed]:
    """Observe SQLite's files."""
    if not is_sqlite():
        return
    path = Path(connection.settings_dict["NAME"])
    sizes = {"database": path, "wal": Path(f"{path}-wal")}
    found = [((name,), _size(file)) for name, file in sizes.items()]
    yield Observed("takhin_database_bytes", "Size of SQLite's files.", ("file",), found)
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(path.parent).free
        yield Observed("takhin_free_disk_bytes", "Free space on the disk of the database.", (), [((), free)])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def observe_pool() -> Iterator[Observed]:
    """Observe this process's connections to PostgreSQL."""
    if is_sqlite():
        return
    stats = connection.pool.get_stats() if connection.pool is not None else {}  # type: ignore[attr-defined]
    size, free = stats.get("pool_size", 0), stats.get("pool_available", 0)
    states = [(("idle",), free), (("used",), size - free)]
    yield Observed("takhin_database_pool_connections", "Connections to PostgreSQL.", ("state",), states)
    waiting = [((), stats.get("requests_waiting", 0))]
    yield Observed("takhin_database_pool_waiting", "Threads that wait for a connection.", (), waiting)
