"""Turn what a database's driver raises into the log's errors, with the reason in words."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DataError, Error, IntegrityError, NotSupportedError, OperationalError

from topics.errors import LogUnavailable, StorageDamaged, StorageFull, StorageReadOnly

# These are about the statement that was run; every other error says that the database cannot serve now. A table that
# is missing until the migrations have run is a programming error to PostgreSQL.
OF_THE_STATEMENT = (IntegrityError, DataError, NotSupportedError)

# By the beginning of the name: extended codes add to it, as SQLITE_IOERR_WRITE does. https://sqlite.org/rescode.html
_SQLITE: dict[str, tuple[type[LogUnavailable], str]] = {
    "SQLITE_FULL": (StorageFull, "the disk of the embedded log is full or failing"),
    "SQLITE_IOERR": (StorageFull, "the disk of the embedded log is full or failing"),
    "SQLITE_READONLY": (StorageReadOnly, "the database file or its folder is read-only"),
    "SQLITE_CORRUPT": (StorageDamaged, "the database file is damaged"),
    "SQLITE_NOTADB": (StorageDamaged, "the database file is damaged"),
    "SQLITE_CANTOPEN": (LogUnavailable, "the database file cannot be opened"),
    "SQLITE_BUSY": (LogUnavailable, "another process keeps the database locked"),
    "SQLITE_LOCKED": (LogUnavailable, "another process keeps the database locked"),
}
# https://www.postgresql.org/docs/15/errcodes-appendix.html
_POSTGRES: dict[str, tuple[type[LogUnavailable], str]] = {
    "53100": (StorageFull, "the disk of the embedded log is full or failing"),
    "58030": (StorageFull, "the disk of the embedded log is full or failing"),
    "25006": (StorageReadOnly, "the database is read-only"),
    "XX001": (StorageDamaged, "the database is damaged"),
    "XX002": (StorageDamaged, "the database is damaged"),
}
_UNKNOWN = (LogUnavailable, "the database cannot be reached or is busy")


class DatabaseDown(OperationalError):
    """The database was not asked: it has not answered for a while."""


def is_trouble(error: BaseException) -> bool:
    """Whether the database says that it cannot serve now."""
    return isinstance(error, Error) and not isinstance(error, OF_THE_STATEMENT)


def is_lock(error: BaseException) -> bool:
    """Whether another process's lock on the SQLite file was waited for in vain."""
    return _sqlite_name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def forget_frames(error: BaseException) -> None:
    """Empty the frames that an error has left behind.

    Django's wrapper of database errors refers to what it raises, and so ties each error and the whole request into a
    cycle that only the garbage collector would end.
    """
    seen: set[BaseException] = set()
    following: BaseException | None = error
    while following is not None and following not in seen:
        seen.add(following)
        traceback.clear_frames(following.__traceback__)
        following = following.__cause__ or following.__context__


def of(error: BaseException) -> LogUnavailable:
    """The log's error for the database's own."""
    forget_frames(error)
    if isinstance(error, DatabaseDown):
        return LogUnavailable(str(error))
    name = _sqlite_name(error)
    if name:
        kind, reason = next((found for prefix, found in _SQLITE.items() if name.startswith(prefix)), _UNKNOWN)
        return kind(f"{reason} ({error})")
    kind, reason = _POSTGRES.get(getattr(error.__cause__, "sqlstate", None) or "", _UNKNOWN)
    return kind(reason)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the database's own errors into the log's."""
    try:
        yield
    except Error as error:
        if not is_trouble(error):
            raise
        raise of(error) from error


def _sqlite_name(error: BaseException) -> str:
    return str(getattr(error.__cause__, "sqlite_errorname", ""))
