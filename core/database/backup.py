"""Copy SQLite's database to a file while servers use it, and put such a file in its place while none does."""

import contextlib
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.db import connection

from core.database.statements import is_sqlite

PAGES_AT_ONCE = 1000
# A table that only our databases have.
TABLE = "producer_producerequest"


class NotPossible(Exception):
    """Why there can be no backup, or why one cannot be restored."""


def database_file() -> Path:
    """Raises NotPossible."""
    if not is_sqlite():
        raise NotPossible("this command is for SQLite; on PostgreSQL use pg_dump, or its continuous archiving")
    return Path(connection.settings_dict["NAME"])


def back_up(target: Path, progress: Callable[[int, int], object] = lambda done, total: None) -> int:
    """Copy the database as it is at this moment to a new file. Return its size. Raises NotPossible.

    `progress` is called with the numbers of pages that are copied, and in total.
    """
    source = database_file()
    draft = target.with_name(f".{target.name}.part")
    if target.exists():
        raise NotPossible(f"{target} exists already")
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with contextlib.closing(sqlite3.connect(draft)) as copy, contextlib.closing(_reader(source)) as reader:
            # Within one transaction, what servers write meanwhile is not seen. Otherwise each commit would start the
            # copy over.
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
            reader.backup(copy, pages=PAGES_AT_ONCE, progress=lambda _, left, total: progress(total - left, total))
            copy.execute("PRAGMA journal_mode = DELETE")
        _check(draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.rename(target)
    except (OSError, sqlite3.Error) as error:
        raise NotPossible(f"cannot back up to {target}: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return target.stat().st_size


def _reader(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=30)


def restore(source: Path) -> Path | None:
    """Put a backup in the database's place. Return where the database is that was there before.

    Raises NotPossible, also while a server or a worker uses the database.
    """
    target = database_file()
    if _is_in_use():
        raise NotPossible("a server or a worker uses the database: stop it first")
    _check(source)
    draft = target.with_name(f"{target.name}.restored")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            with source.open("rb") as given:
                shutil.copyfileobj(given, file)
            file.flush()
            os.fsync(file.fileno())
        before = _set_aside(target)
        draft.rename(target)
    except OSError as error:
        raise NotPossible(f"cannot restore {source}: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return before


def _set_aside(target: Path) -> Path | None:
    """Move the database out of the way, with its journal: it belongs to the file that it was written for."""
    if not target.exists():
        return None
    number = 1
    while (before := target.with_name(f"{target.name}.before-restore-{number}")).exists():
        number += 1
    for suffix in ("-wal", "-shm", "-journal"):
        journal = target.with_name(target.name + suffix)
        if journal.exists():
            journal.rename(before.with_name(before.name + suffix))
    target.rename(before)
    return before


def _check(path: Path) -> None:
    """Raise NotPossible unless the file is an intact database of ours."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as found:
            wrong = [row[0] for row in found.execute("PRAGMA quick_check(1)") if row[0] != "ok"]
            tables = {row[0] for row in found.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        raise NotPossible(f"{path} is not a database: {error}") from error
    if wrong:
        raise NotPossible(f"{path} is damaged: {wrong[0]}")
    if TABLE not in tables:
        raise NotPossible(f"{path} is a database of something else")


def _is_in_use() -> bool:
    """Whether a process of this data folder lives, as the locks on the files of their metrics tell."""
    for path in (Path(settings.TAKHIN_DATA_DIR) / "metrics").glob("*.metrics"):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
    return False
