"""Execute SQL without Django's cursors, which convert each statement anew. That takes longer than SQLite does.

Rows to insert are collected, and inserted at the end of the transaction, all rows of one statement together.
"""

import functools
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.db import connection

# The rows to insert, by statement.
Rows = dict[str, list[Sequence[Any]]]


class _Rows(threading.local):
    def __init__(self) -> None:
        self.by_statement: Rows = {}


_rows = _Rows()


@functools.cache
def is_sqlite() -> bool:
    return connection.vendor == "sqlite"


def add(statement: str, row: Sequence[Any]) -> None:
    """Execute the statement with this row before the transaction that `transactions.commit` runs commits.

    Values are what the driver takes.
    """
    _rows.by_statement.setdefault(statement, []).append(row)


def take() -> Rows:
    """Return what was added, and forget it."""
    found, _rows.by_statement = _rows.by_statement, {}
    return found


def put(rows: Rows) -> None:
    """Add what `take` has returned."""
    for statement, found in rows.items():
        _rows.by_statement.setdefault(statement, []).extend(found)


def flush() -> None:
    """Execute what was added, in the current transaction."""
    if not _rows.by_statement:
        return
    found, _rows.by_statement = _rows.by_statement, {}
    with connection.wrap_database_errors:
        cursor = connection.connection.cursor()
        for statement, rows in found.items():
            cursor.executemany(native(statement), rows)


def forget() -> None:
    """Drop what was added, because the transaction is rolled back."""
    _rows.by_statement = {}


def execute(statement: str, values: Sequence[Any]) -> int:
    """Execute a statement in the current transaction. Return the number of changed rows."""
    with connection.wrap_database_errors:
        count: int = connection.connection.cursor().execute(native(statement), values).rowcount
    return count


def moment(value: datetime) -> datetime | str:
    """Return a time in UTC as the driver takes it and Django reads it."""
    # msgspec writes times faster than datetime does: as 2026-01-31T12:00:00.123456Z.
    return msgspec.to_builtins(value)[:-1].replace("T", " ") if is_sqlite() else value


def now(later: timedelta = timedelta(0)) -> str:
    """Return SQL for the database's current time, or a later one, as Django stores it."""
    if is_sqlite():
        # On the same machine it is this process's.
        return f"'{moment(datetime.now(UTC) + later)}'"
    return f"STATEMENT_TIMESTAMP() + INTERVAL '{later.total_seconds()} seconds'"


@functools.cache
def native(statement: str) -> str:
    """Return the statement with the placeholders of the driver."""
    return statement.replace("%s", "?") if is_sqlite() else statement
