"""Run the jobs of a transaction.

A job is a callable that does database work and nothing else. Jobs with a `run_together`, which is a function of several
jobs, share their statements with others of their kind.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from core.database import statements

T = TypeVar("T")


def run_all(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Run jobs in the current transaction, those with the same `run_together` at once. Return their results."""
    kinds: dict[Any, list[int]] = {}
    for index, job in enumerate(jobs):
        kinds.setdefault(getattr(job, "run_together", None), []).append(index)
    results: dict[int, T] = {}
    for run_together, indexes in kinds.items():
        chosen = [jobs[index] for index in indexes]
        found = [job() for job in chosen] if run_together is None else run_together(chosen)
        results.update(zip(indexes, found, strict=True))
    statements.flush()
    return [results[index] for index in range(len(jobs))]
