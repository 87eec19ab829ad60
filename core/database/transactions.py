"""Run durable database transactions, and remember the result of the last commit."""

import time
from collections.abc import Callable
from typing import TypeVar

from django.conf import settings
from django.db import Error, connection, transaction

from core.database import driver_errors, group_commit, inserts
from core.database.driver_errors import translated
from core.database.inserts import is_sqlite
from core.errors import OutcomeUnknown, StorageUnavailable

__all__ = ["close", "commit", "last_commit", "translated"]

T = TypeVar("T")


class LastCommit:
    """The result of this process's last commit."""

    def __init__(self) -> None:
        self.succeeded_at = float("-inf")
        self.failure: StorageUnavailable | None = None
        self.failed_at = float("-inf")

    def succeeded(self) -> None:
        self.succeeded_at = time.monotonic()
        self.failure = None

    def failed(self, error: StorageUnavailable) -> None:
        self.failure = error
        self.failed_at = time.monotonic()


last_commit = LastCommit()


def commit(job: Callable[[], T], seconds: float | None = None) -> T:
    """Run `job` in a transaction, commit it and return the result.

    `job` may run more than once, so it must do nothing but database work. If it raises an exception, its work is rolled
    back and the exception propagates. Raises StorageUnavailable if the database cannot be written now, or not within
    `seconds` (by default TAKHIN_PRODUCE_TIMEOUT); nothing was written then. Raises OutcomeUnknown if the connection was
    lost during the commit.
    """
    try:
        if is_sqlite():
            result = group_commit.current().run(job, seconds or settings.TAKHIN_PRODUCE_TIMEOUT)
        else:
            result = _commit(job, seconds)
    except StorageUnavailable as error:
        # A StorageUnavailable that the job itself raised has no database error as its cause and does not count.
        if isinstance(error, group_commit.Locked) or isinstance(error.__cause__, (Error, OSError)):
            last_commit.failed(error)
        raise
    last_commit.succeeded()
    return result


def _commit(job: Callable[[], T], seconds: float | None) -> T:
    is_done = False
    try:
        with transaction.atomic(durable=True):
            if seconds is not None:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{max(1, int(seconds * 1000))}ms"])
            result = job()
            inserts.flush()
            is_done = True
    except Error as error:
        if not driver_errors.is_unavailable(error):
            driver_errors.forget_frames(error)
            raise
        if is_done:
            raise OutcomeUnknown("the connection to the database was lost during the commit") from error
        raise driver_errors.translate(error) from error
    except Exception as error:
        driver_errors.forget_frames(error)
        raise
    finally:
        inserts.forget()
    return result


def close() -> None:
    """Stop this process's writer and close its connections, before a fork that must not inherit them."""
    connection.close()
    if connection.vendor == "postgresql":
        connection.close_pool()  # type: ignore[attr-defined]
    group_commit.end()
