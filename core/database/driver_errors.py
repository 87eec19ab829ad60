"""Convert database driver errors to the log's errors, with a readable reason."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DataError, Error, IntegrityError, NotSupportedError, OperationalError

from core.errors import StorageDamaged, StorageFull, StorageReadOnly, StorageUnavailable

# These errors concern the statement; all others mean that the database cannot serve now. This includes
# ProgrammingError, which PostgreSQL raises for a table that is missing until the migrations have run.
OF_THE_STATEMENT = (IntegrityError, DataError, NotSupportedError)

# By name prefix, because extended codes append to it, as in SQLITE_IOERR_WRITE. https://sqlite.org/rescode.html
_SQLITE: dict[str, tuple[type[StorageUnavailable], str]] = {
    "SQLITE_FULL": (StorageFull, "the disk of the embedded log is full or failing"),
    "SQLITE_IOERR": (StorageFull, "the disk of the embedded log is full or failing"),
    "SQLITE_READONLY": (StorageReadOnly, "the database file or its folder is read-only"),
    "SQLITE_CORRUPT": (StorageDamaged, "the database file is damaged"),
    "SQLITE_NOTADB": (StorageDamaged, "the database file is damaged"),
    "SQLITE_CANTOPEN": (StorageUnavailable, "the database file cannot be opened"),
    "SQLITE_BUSY": (StorageUnavailable, "another process keeps the database locked"),
    "SQLITE_LOCKED": (StorageUnavailable, "another process keeps the database locked"),
}
# https://www.postgresql.org/docs/15/errcodes-appendix.html
_POSTGRES: dict[str, tuple[type[StorageUnavailable], str]] = {
    "53100": (StorageFull, "the disk of the embedded log is full or failing"),
    "58030": (StorageFull, "the disk of the embedded log is full or failing"),
    "25006": (StorageReadOnly, "the database is read-only"),
    "XX001": (StorageDamaged, "the database is damaged"),
    "XX002": (StorageDamaged, "the database is damaged"),
}
_NO_TABLES = (
    StorageUnavailable,
    "the database has no tables: run takhin migrate, or check TAKHIN_DATA_DIR and DATABASE_URL",
)
# undefined_table
_POSTGRES["42P01"] = _NO_TABLES
_UNKNOWN = (StorageUnavailable, "the database cannot be reached or is busy")


class DatabaseDown(OperationalError):
    """The query was not sent, because the database has not answered for a while."""


def is_unavailable(error: BaseException) -> bool:
    """Tell whether the error means that the database cannot serve now."""
    return isinstance(error, Error) and not isinstance(error, OF_THE_STATEMENT)


def is_lock(error: BaseException) -> bool:
    """Tell whether waiting for another process's lock on the SQLite file timed out."""
    return _sqlite_name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def forget_frames(error: BaseException) -> None:
    """Clear the local variables in an error's frames.

    Django's wrapper of database errors refers to the error it raises. This ties the error and the whole request into a
    reference cycle that only the garbage collector would free.
    """
    seen: set[BaseException] = set()
    following: BaseException | None = error
    while following is not None and following not in seen:
        seen.add(following)
        traceback.clear_frames(following.__traceback__)
        following = following.__cause__ or following.__context__


def translate(error: BaseException) -> StorageUnavailable:
    """Return the log's error for a database error."""
    forget_frames(error)
    if isinstance(error, DatabaseDown):
        return StorageUnavailable(str(error))
    name = _sqlite_name(error)
    if name:
        other = _NO_TABLES if str(error).startswith("no such table") else _UNKNOWN
        kind, reason = next((found for prefix, found in _SQLITE.items() if name.startswith(prefix)), other)
        return kind(f"{reason} ({error})")
    kind, reason = _POSTGRES.get(getattr(error.__cause__, "sqlstate", None) or "", _UNKNOWN)
    return kind(reason)


@contextmanager
def translated() -> Iterator[None]:
    """Convert database errors to the log's errors."""
    try:
        yield
    except Error as error:
        if not is_unavailable(error):
            raise
        raise translate(error) from error


def _sqlite_name(error: BaseException) -> str:
    return str(getattr(error.__cause__, "sqlite_errorname", ""))
