"""Serialize claimed requests a slice at a time, and finish or release those that fail."""

import enum
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from core import wakeups
from core.database import transactions
from core.errors import OutcomeUnknown, StorageError, StorageUnavailable
from producer import services
from producer.models import MAX_ATTEMPTS, Overtaken, ProduceRequest
from producer.pipeline.plan import Plan
from registry.errors import InvalidSchema, RegistryUnavailable, SchemaNotFound
from topics.log.contract import Log
from topics.log.errors import TopicNotFound

log = structlog.get_logger("takhin.worker")


class Turn(enum.Enum):
    """The result of a turn: the plan is complete, not complete yet, or the request was finished or released."""

    READY = enum.auto()
    UNFINISHED = enum.auto()
    ENDED = enum.auto()


@dataclass(slots=True, eq=False)
class Job:
    """A claimed request, with its plan from the first turn on."""

    row: ProduceRequest
    plan: Plan | None = None
    started: float = field(default_factory=time.perf_counter)


def take(topic_log: Log, job: Job) -> Turn:
    """Give a claimed request its next turn."""
    row = job.row
    if job.plan is None and gave_up(row):
        return Turn.ENDED
    try:
        if job.plan is None:
            job.plan = services.plan_of(topic_log, row)
        if not services.advance(job.plan, services.SLICE_SECONDS):
            return Turn.UNFINISHED
        services.check_online(topic_log, row, job.plan)
        return Turn.READY
    except Exception as error:
        ended(row, error)
    return Turn.ENDED


def written(topic_log: Log, job: Job) -> None:
    """Write a request whose plan is complete, or release it to be retried later."""
    row = job.row
    assert job.plan is not None
    try:
        services.write(topic_log, row, job.plan)
        took = round((time.perf_counter() - job.started) * 1000, 2)
        log.info("ran", request=row.pk, topic=row.topic, attempt=row.attempts, milliseconds=took)
    except Exception as error:
        ended(row, error)


def ended(row: ProduceRequest, error: Exception) -> None:
    """Handle a failed attempt: fail the request, or release it to be retried later. Call it in `except`."""
    if isinstance(error, Overtaken):
        log.warning("overtaken", request=row.pk, attempt=row.attempts)
    elif isinstance(error, TopicNotFound | SchemaNotFound | InvalidSchema):
        reason = str(error)
        while_mine(row, lambda: row.fail(reason))
        wakeups.finished(row.pk)
    elif isinstance(error, StorageUnavailable | OutcomeUnknown | RegistryUnavailable):
        unavailable(row, error)
    else:
        failed(row, error)


def gave_up(row: ProduceRequest) -> bool:
    """Fail a request that has been tried too often. Return whether it was."""
    if row.attempts <= MAX_ATTEMPTS:
        return False
    reason = f"gave up after {MAX_ATTEMPTS} attempts: {row.error or 'each one killed its worker'}"
    while_mine(row, lambda: row.fail(reason))
    wakeups.finished(row.pk)
    return True


def unavailable(row: ProduceRequest, error: Exception) -> None:
    """Release a request that is not at fault, to be retried later without counting the attempt."""
    log.warning("unavailable", request=row.pk, error=str(error))
    while_mine(row, lambda: row.release(back_off(row)))


def failed(row: ProduceRequest, error: Exception) -> None:
    """Handle an unexpected error of an attempt. Call it in `except`."""
    log.exception("attempt failed", request=row.pk, attempt=row.attempts)
    reason = f"{type(error).__name__}: {error}"
    while_mine(row, lambda: row.postpone(back_off(row), reason))


def back_off(row: ProduceRequest) -> float:
    """Return the seconds until the next attempt: 1, 2, 4, up to 60, with jitter so that workers spread out."""
    return min(2.0 ** min(row.claims - 1, 6), 60.0) * random.uniform(0.5, 1.0)


def while_mine(row: ProduceRequest, transition: Callable[[], None]) -> None:
    """Change a claimed row, unless another worker has claimed it since."""
    try:
        transactions.commit(transition)
    except Overtaken:
        log.warning("overtaken", request=row.pk, attempt=row.attempts)
    except StorageError as error:
        # The lease will expire, and the request will be claimed again.
        log.warning("transition failed", request=row.pk, error=str(error))
