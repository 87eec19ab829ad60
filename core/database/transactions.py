"""Run durable database transactions, and remember the result of the last commit."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from django.conf import settings
from django.db import Error, connection, transaction

from core.database import driver_errors, group_commit, statements
from core.database.driver_errors import translated
from core.database.statements import is_sqlite
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
            result = _commit([job], seconds)[0]
    except StorageUnavailable as error:
        _note(error)
        raise
    last_commit.succeeded()
    return result


def commit_each(jobs: Sequence[Callable[[], T]]) -> "list[T | Exception]":
    """Run several jobs as `commit` does, together if possible. Return the result or the error of each."""
    try:
        if is_sqlite():
            results = group_commit.current().run_each(jobs, settings.TAKHIN_PRODUCE_TIMEOUT)
        else:
            results = _commit_each(jobs)
    except StorageUnavailable as error:
        results = [error for _ in jobs]
    for result in results:
        if isinstance(result, StorageUnavailable):
            _note(result)
        elif not isinstance(result, Exception):
            last_commit.succeeded()
    return results


def _commit_each(jobs: Sequence[Callable[[], T]]) -> "list[T | Exception]":
    try:
        return list(_commit(jobs, None))
    except (StorageUnavailable, OutcomeUnknown) as error:
        return [error for _ in jobs]
    except Exception as error:
        # One bad job must not fail its neighbours.
        return [error] if len(jobs) == 1 else [result for job in jobs for result in _commit_each([job])]


def _note(error: StorageUnavailable) -> None:
    # A StorageUnavailable that the job itself raised has no database error as its cause and does not count.
    if isinstance(error, group_commit.Locked) or isinstance(error.__cause__, (Error, OSError)):
        last_commit.failed(error)


def commit_later(job: Callable[[], object], failed: Callable[[StorageUnavailable], object]) -> None:
    """Commit soon, together with others, and call `failed` if that fails. Waits only if too much waits already."""
    if is_sqlite() and group_commit.current().run_later(job, failed):
        return
    try:
        commit(job)
    except StorageUnavailable as error:
        failed(error)


def _commit(jobs: Sequence[Callable[[], T]], seconds: float | None) -> list[T]:
    is_done = False
    try:
        with transaction.atomic(durable=True):
            if seconds is not None:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{max(1, int(seconds * 1000))}ms"])
            results = group_commit.run_all(jobs)
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
        statements.forget()
    return results


def close() -> None:
    """Stop this process's writer and close its connections, before a fork that must not inherit them."""
    connection.close()
    if connection.vendor == "postgresql":
        connection.close_pool()  # type: ignore[attr-defined]
    group_commit.end()
