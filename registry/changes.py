"""Change the registry one caller at a time, so that what a change was judged by still holds when it is made."""

from collections.abc import Callable
from typing import TypeVar

from django.db import connection

from topics import commits

T = TypeVar("T")


def run(job: Callable[[], T]) -> T:
    """`commits.run`, alone."""

    def alone() -> T:
        # SQLite has one writer anyway. Every change adds to the history, and readers are not held up.
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("LOCK TABLE registry_change IN SHARE ROW EXCLUSIVE MODE")
        return job()

    return commits.run(alone)
