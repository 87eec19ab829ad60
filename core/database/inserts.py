"""Insert rows at the end of a transaction, all rows of one statement together."""

import functools
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection


class _Rows(threading.local):
    def __init__(self) -> None:
        self.by_statement: dict[str, list[Sequence[Any]]] = {}


_rows = _Rows()


@functools.cache
def is_sqlite() -> bool:
    return connection.vendor == "sqlite"


def add(statement: str, row: Sequence[Any]) -> None:
    """Execute the statement with this row before the transaction that `transactions.commit` runs commits.

    Values are what the driver takes. Django's cursors convert each statement anew, which takes longer than SQLite.
    """
    _rows.by_statement.setdefault(statement, []).append(row)


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


def moment(value: datetime) -> datetime | str:
    """Return a time in UTC as the driver takes it and Django reads it."""
    return str(value.replace(tzinfo=None)) if is_sqlite() else value


@functools.cache
def native(statement: str) -> str:
    """Return the statement with the placeholders of the driver."""
    return statement.replace("%s", "?") if is_sqlite() else statement
