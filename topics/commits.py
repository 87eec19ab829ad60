"""Run database work durably, and remember how the last commit ended."""

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
    """How this process's last commit ended."""

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
    """Run `job` in a transaction and return its result once that is committed.

    A caller whose turn does not come within `seconds`, else TAKHIN_PRODUCE_TIMEOUT, is told that nothing was written.

    `job` may run more than once and must do nothing but database work. What it raises rolls its own work
    back and is raised here. Raises LogUnavailable when the database cannot be written now, and OutcomeUnknown when it
    was lost while it committed.
    """
    try:
        if connection.vendor == "sqlite":
            result = writer.current().run(job, seconds or settings.TAKHIN_PRODUCE_TIMEOUT)
        else:
            result = _run(job, seconds)
    except LogUnavailable as error:
        # Not the job's own: the log's, which a caller may raise itself, has no database error behind it.
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
            raise OutcomeUnknown("the database was lost while it committed") from error
        raise trouble.of(error) from error
    except Exception as error:
        trouble.forget_frames(error)
        raise
    return result


def close() -> None:
    """End this process's writer and its connections, before a fork that must not inherit them."""
    connection.close()
    if connection.vendor == "postgresql":
        connection.close_pool()  # type: ignore[attr-defined]
    writer.end()
