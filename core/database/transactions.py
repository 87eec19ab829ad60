"""Run durable database transactions, and remember the result of the last commit."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from django.conf import settings
from django.db import Error, connection

from core import turns
from core.database import group_commit, postgres_commit
from core.database.driver_errors import translated
from core.database.statements import is_sqlite
from core.errors import StorageUnavailable

__all__ = ["close", "commit", "last_commit", "translated", "writer"]

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
    turns.end()
    try:
        if is_sqlite():
            result = group_commit.current().run(job, seconds or settings.TAKHIN_PRODUCE_TIMEOUT)
        else:
            result = postgres_commit.commit(job, seconds)
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
            results = postgres_commit.commit_each(jobs)
    except StorageUnavailable as error:
        results = [error for _ in jobs]
    for result in results:
        if isinstance(result, StorageUnavailable):
            _note(result)
        elif not isinstance(result, Exception):
            last_commit.succeeded()
    return results


def writer() -> "group_commit.Writer | postgres_commit.Writer":
    """Return this process's writer, in whose lane requests may run."""
    return group_commit.current() if is_sqlite() else postgres_commit.current()


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


def close() -> None:
    """Stop this process's writer and close its connections, before a fork that must not inherit them."""
    connection.close()
    if connection.vendor == "postgresql":
        connection.close_pool()  # type: ignore[attr-defined]
    group_commit.end()
    postgres_commit.end()
