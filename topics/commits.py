"""Run durable database transactions, and remember the result of the last commit."""

import time
from collections.abc import Callable
from typing import TypeVar

from django.conf import settings
from django.db import Error, connection, transaction

from topics import trouble, writer
from topics.errors import LogUnavailable, OutcomeUnknown
from topics.trouble import translated

__all__ = ["close", "last", "run", "translated"]

T = TypeVar("T")


class Last:
    """The result of this process's last commit."""

    def __init__(self) -> None:
        self.succeeded_at = float("-inf")
        self.failure: LogUnavailable | None = None
        self.failed_at = float("-inf")

    def succeeded(self) -> None:
        self.succeeded_at = time.monotonic()
        self.failure = None

    def failed(self, error: LogUnavailable) -> None:
        self.failure = error
        self.failed_at = time.monotonic()


last = Last()


def run(job: Callable[[], T], seconds: float | None = None) -> T:
    """Run `job` in a transaction, commit it and return the result.

    `job` may run more than once, so it must do nothing but database work. If it raises an exception, its work is rolled
    back and the exception propagates. Raises LogUnavailable if the database cannot be written now, or not within
    `seconds` (by default TAKHIN_PRODUCE_TIMEOUT); nothing was written then. Raises OutcomeUnknown if the connection was
    lost during the commit.
    """
    try:
        if connection.vendor == "sqlite":
            result = writer.current().run(job, seconds or settings.TAKHIN_PRODUCE_TIMEOUT)
        else:
            result = _run(job, seconds)
    except LogUnavailable as error:
        # A LogUnavailable that the job itself raised has no database error as its cause and does not count.
        if isinstance(error.__cause__, (Error, OSError)):
            last.failed(error)
        raise
    last.succeeded()
    return result


def _run(job: Callable[[], T], seconds: float | None) -> T:
    is_done = False
    try:
        with transaction.atomic(durable=True):
            if seconds is not None:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{max(1, int(seconds * 1000))}ms"])
            result = job()
            is_done = True
    except Error as error:
        if not trouble.is_trouble(error):
            trouble.forget_frames(error)
            raise
        if is_done:
            raise OutcomeUnknown("the connection to the database was lost during the commit") from error
        raise trouble.of(error) from error
    except Exception as error:
        trouble.forget_frames(error)
        raise
    return result


def close() -> None:
    """Stop this process's writer and close its connections, before a fork that must not inherit them."""
    connection.close()
    if connection.vendor == "postgresql":
        connection.close_pool()  # type: ignore[attr-defined]
    writer.end()
