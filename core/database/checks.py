"""System checks of the database, run at startup."""

import sqlite3
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.management import CommandError
from django.db import DatabaseError, connection

from core.database import driver_errors, sqlite_file, transactions
from core.errors import OutcomeUnknown, StorageReadOnly, StorageUnavailable


def describe() -> str:
    """Return the kind of database, such as `SQLite 3.53.4 in journal mode WAL`, for operators."""
    if connection.vendor == "sqlite":
        return f"SQLite {sqlite3.sqlite_version} in journal mode {settings.TAKHIN_SQLITE_JOURNAL}"
    return "PostgreSQL"


POSTGRES_MUST_BE_ON = ("fsync", "full_page_writes", "synchronous_commit")


@checks.register(checks.Tags.database)
def sqlite_is_durable(app_configs: Any, databases: Any = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Check the pragmas that make acknowledged records durable, and the journal mode."""
    if not databases or connection.vendor != "sqlite":
        return []
    try:
        with connection.cursor() as cursor:
            synchronous = cursor.execute("PRAGMA synchronous").fetchone()[0]
            journal = cursor.execute("PRAGMA journal_mode").fetchone()[0].upper()
    except DatabaseError as error:
        if isinstance(driver_errors.translate(error), StorageReadOnly):
            # A WAL cannot be opened then. The last check tells.
            return []
        raise
    found: list[checks.CheckMessage] = []
    if synchronous < 2:
        found.append(
            checks.Error(
                "SQLite must run with synchronous=FULL, or a power failure may lose acknowledged records.",
                id="takhin.E001",
            )
        )
    if journal != settings.TAKHIN_SQLITE_JOURNAL:
        found.append(
            checks.Error(
                f"SQLite {sqlite3.sqlite_version} must use journal_mode="
                f"{settings.TAKHIN_SQLITE_JOURNAL}, but uses {journal}.",
                id="takhin.E002",
            )
        )
    hint = (
        ""
        if journal == "WAL"
        else "WAL commits faster, and needs SQLite 3.51.3: https://sqlite.org/wal.html#walresetbug"
    )
    found.append(checks.Info(f"The database is {describe()}.", hint=hint or None, id="takhin.I001"))
    return found


@checks.register(checks.Tags.database)
def postgres_is_durable(app_configs: Any, databases: Any = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Check that PostgreSQL acknowledges a commit only when it is on disk, and that the database can store any text."""
    if not databases or connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, setting FROM pg_settings")
        found = dict(cursor.fetchall())
    wrong: list[checks.CheckMessage] = [
        checks.Error(f"PostgreSQL must run with {name}=on, or a crash may lose acknowledged records.", id="takhin.E004")
        for name in POSTGRES_MUST_BE_ON
        if found[name] in ("off", "local")
    ]
    if (encoding := found["server_encoding"]) != "UTF8":
        wrong.append(checks.Error(f"The database's encoding must be UTF8, but is {encoding}.", id="takhin.E008"))
    return wrong


@checks.register(checks.Tags.database)
def database_is_writable(app_configs: Any, databases: Any = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Check that the database is writable. A full disk or a lock is not an error here, because it may pass."""
    if not databases:
        return []
    try:
        transactions.commit(_write_nothing)
    except StorageReadOnly as error:
        return [checks.Error(f"The log cannot be written: {error}.", id="takhin.E009")]
    except (StorageUnavailable, OutcomeUnknown):
        return []
    return []


def _write_nothing() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            sqlite_file.touch(cursor)
            return
        cursor.execute("SHOW transaction_read_only")
        if cursor.fetchone()[0] == "on":
            raise StorageReadOnly("the database is read-only")


def refuse_unsafe_database() -> None:
    """Raise CommandError if acknowledged records would not be durable. An unreachable database may come back."""
    try:
        found = checks.run_checks(tags=[checks.Tags.database], databases=["default"])
    except DatabaseError:
        return
    if wrong := [str(message.msg) for message in found if message.level >= checks.WARNING]:
        raise CommandError("; ".join(wrong))
