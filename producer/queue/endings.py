"""Decide what becomes of a request after an attempt to write it, and save it in the request's row."""

import enum
import random
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from core import wakeups
from core.database import transactions
from core.errors import OutcomeUnknown, StorageError, StorageUnavailable
from producer.measures import ATTEMPTS, COMPLETION_SECONDS, FINISHED, GIVEN_UP, count_records
from producer.models import GAVE_UP, MAX_ATTEMPTS, Outcomes, Overtaken, ProduceRequest, Status
from registry.errors import InvalidSchema, RegistryUnavailable, SchemaNotFound
from topics.log.contract import BookkeepingFailed, SessionStuck
from topics.log.errors import LogRefused, TopicNotFound, TopicNotYetVisible

log = structlog.get_logger("takhin.worker")


class Unfinished(Exception):
    """Some records of the request failed and may be written later, so all of them are sent again."""


class Ending(enum.Enum):
    """How an attempt ended."""

    # The row is complete, with every record's outcome.
    WRITTEN = enum.auto()
    # The request cannot be written, now or later.
    FAILED = enum.auto()
    # Others are at fault. The request is tried again at once, and the attempt does not count.
    RETURNED = enum.auto()
    # The request is not at fault. It is tried again later, and the attempt does not count.
    RELEASED = enum.auto()
    # The request may be at fault. It is tried again later, and the attempt counts.
    POSTPONED = enum.auto()
    # The records may have been written. The request stays in its slot until the receipts tell.
    IN_DOUBT = enum.auto()
    # Another worker has claimed the request, or it was cancelled.
    OVERTAKEN = enum.auto()


# The ending for the nearest class of an error.
ENDINGS: dict[type[Exception], Ending] = {
    Overtaken: Ending.OVERTAKEN,
    TopicNotFound: Ending.FAILED,
    SchemaNotFound: Ending.FAILED,
    InvalidSchema: Ending.FAILED,
    TopicNotYetVisible: Ending.RELEASED,
    StorageUnavailable: Ending.RELEASED,
    SessionStuck: Ending.RETURNED,
    LogRefused: Ending.RELEASED,
    RegistryUnavailable: Ending.RELEASED,
    Unfinished: Ending.RELEASED,
    # Without a session, nothing tells whether it was written. The next attempt may write it twice.
    BookkeepingFailed: Ending.RELEASED,
    OutcomeUnknown: Ending.RELEASED,
    Exception: Ending.POSTPONED,
}
# In a session's append, whatever is not known to be unwritten is in doubt, because the receipts tell.
ENDINGS_IN_SESSION = {**ENDINGS, OutcomeUnknown: Ending.IN_DOUBT, Exception: Ending.IN_DOUBT}


def ending_of(error: Exception, endings: dict[type[Exception], Ending] = ENDINGS) -> Ending:
    return next(endings[kind] for kind in type(error).__mro__ if kind in endings)


def end(row: ProduceRequest, ending: Ending, error: Exception | None = None) -> None:
    """Save the ending in the request's row, log it, and wake whoever waits for the request."""
    ATTEMPTS.add(ending.name.lower())
    match ending:
        case Ending.FAILED:
            save(row, lambda: row.fail(code_of(error), str(error)))
            tell(row)
        case Ending.RETURNED:
            save(row, lambda: row.release(0))
        case Ending.RELEASED:
            log.warning("request_released", requestId=row.pk, error=str(error))
            save(row, lambda: row.release(back_off(row), code_of(error), str(error)))
        case Ending.POSTPONED:
            log.error("attempt_failed", requestId=row.pk, attempt=row.attempts, exc_info=error)
            save(row, lambda: row.postpone(back_off(row), code_of(error), f"{type(error).__name__}: {error}"))
        case Ending.IN_DOUBT:
            _leave_in_slot(row, error)
        case Ending.OVERTAKEN:
            log.warning("request_overtaken", requestId=row.pk, attempt=row.attempts)
    if ending in (Ending.WRITTEN, Ending.FAILED):
        wakeups.finished(row.pk)


def _leave_in_slot(row: ProduceRequest, error: Exception | None) -> None:
    """Count the attempt only if the error is unexpected: it may happen again each time."""
    if isinstance(error, StorageError):
        log.warning("request_in_doubt", requestId=row.pk, error=str(error))
        save(row, row.discount)
    else:
        log.error("request_in_doubt", requestId=row.pk, attempt=row.attempts, exc_info=error)


def code_of(error: Exception | None) -> str:
    """Return the code that clients get for this error."""
    return getattr(error, "code", "internal_error")


def has_given_up(row: ProduceRequest) -> bool:
    """Fail a request that has been tried too often. Return whether it was."""
    if row.attempts <= MAX_ATTEMPTS:
        return False
    reason = f"gave up after {MAX_ATTEMPTS} attempts: {row.error or 'each one killed its worker'}"
    save(row, lambda: row.fail(GAVE_UP, reason))
    GIVEN_UP.add()
    tell(row)
    wakeups.finished(row.pk)
    return True


def tell(row: ProduceRequest, seconds: float | None = None) -> None:
    """Log how a request ended, and count it. `seconds` is how long the last attempt took."""
    FINISHED.add(row.status)
    COMPLETION_SECONDS.observe((datetime.now(UTC) - row.created_at).total_seconds())
    if row.result is not None:
        count_records(row.topic, row.result, None if row.outcomes is None else Outcomes.unpacked(bytes(row.outcomes)))
    reason = {"code": row.code, "error": row.error} if row.code else {}
    took = {} if seconds is None else {"milliseconds": round(seconds * 1000, 2)}
    say = log.info if row.status == Status.COMPLETED else log.warning
    say(
        "request_finished",
        requestId=row.pk,
        topic=row.topic,
        status=row.status,
        **reason,
        records=row.record_count,
        written=row.written_count,
        failed=row.failed_count,
        attempt=row.attempts,
        **took,
    )


def back_off(row: ProduceRequest) -> float:
    """Return the seconds until the next attempt: 1, 2, 4, up to 60, with jitter so that workers spread out."""
    return min(2.0 ** min(row.claims - 1, 6), 60.0) * random.uniform(0.5, 1.0)


def save(row: ProduceRequest, transition: Callable[[], None]) -> None:
    """Change a claimed row, unless another worker has claimed it since."""
    try:
        transactions.commit(transition)
    except Overtaken:
        log.warning("request_overtaken", requestId=row.pk, attempt=row.attempts)
    except StorageError as error:
        # The lease will expire, and the request will be claimed again.
        log.warning("transition_failed", requestId=row.pk, error=str(error))
