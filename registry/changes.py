"""Serialize changes to the registry, so that the checks for a change still hold when it is made."""

from collections.abc import Callable
from typing import TypeVar

from django.db import connection

from core.database import transactions

T = TypeVar("T")


def commit_alone(job: Callable[[], T]) -> T:
    """Run `job` with `transactions.commit`, excluding all other changes to the registry."""

    def alone() -> T:
        # SQLite has only one writer anyway. Every change inserts into this table, and the lock does not block readers.
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("LOCK TABLE registry_change IN SHARE ROW EXCLUSIVE MODE")
        return job()

    return transactions.commit(alone)
