"""The interface of writers, which claim requests for a worker and write them, and the writer without sessions."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from core import crashes, spans
from core.database import transactions
from core.errors import OutcomeUnknown
from producer.models import Outcomes, ProduceRequest
from producer.queue.endings import Ending, Unfinished, ending_of
from producer.queue.jobs import Job
from topics.log.contract import AppendRequest, Log, Results

# How many requests are written in one transaction.
MOST_TOGETHER = 64
Ended = tuple[Job, Ending, Exception | None]


class Writer(ABC):
    """Writes requests to one log. Except for `renew`, only the worker's thread calls it."""

    # How many complete plans `write` takes at a time.
    most_at_once = 1

    def __init__(self, topic_log: Log) -> None:
        self.log = topic_log

    @property
    def refusal(self) -> str | None:
        """Why the log rejects this writer, so that an operator has to act, or None."""
        return None

    def open(self) -> bool:
        """Get ready to claim and write. Return whether it is ready. Raises StorageUnavailable, OutcomeUnknown."""
        return True

    def claim(self, most: int) -> list[ProduceRequest]:
        """Claim pending requests. Raises StorageUnavailable, OutcomeUnknown."""
        with transactions.translated():
            if not ProduceRequest.objects.has_claimable():
                return []
        crashes.at("claim.before")
        with spans.span("claim"):
            claimed = self._claim(most)
            spans.note(requests=len(claimed))
        crashes.at("claim.after")
        return claimed

    @abstractmethod
    def _claim(self, most: int) -> list[ProduceRequest]: ...

    @abstractmethod
    def write(self, jobs: Sequence[Job]) -> Iterator[Ended]:
        """Write requests whose plans are complete, and yield how each ended.

        The caller saves the ending, unless it is WRITTEN: then the row is complete.
        """

    @abstractmethod
    def renew(self, rows: Sequence[ProduceRequest]) -> None:
        """Extend the claims by another lease. The worker's lease thread calls this."""

    def drop(self) -> None:  # noqa: B027
        """Forget all claims after an error. Nobody renews them any more."""

    def close(self) -> None:  # noqa: B027
        """Give back what other workers may use. The worker has ended."""


class DirectWriter(Writer):
    """Writes each request in the transaction of its append.

    On a log outside the database, the row is completed in a transaction of its own after the append. If that fails, the
    request is written again: each record has the request's id in a header, so that consumers can tell.
    """

    def _claim(self, most: int) -> list[ProduceRequest]:
        return transactions.commit(lambda: ProduceRequest.objects.claim(most))

    @property
    def most_at_once(self) -> int:  # type: ignore[override]
        return MOST_TOGETHER if self.log.supports_transactions else 1

    def write(self, jobs: Sequence[Job]) -> Iterator[Ended]:
        try:
            with spans.span("append", requests=len(jobs)):
                results = self.log.append_each([_append_of(job) for job in jobs])
        except Exception as error:
            results = [error for _ in jobs]
        for result, job in zip(results, jobs, strict=True):
            if isinstance(result, Exception):
                yield job, ending_of(result), result
            else:
                yield job, Ending.WRITTEN, None

    def renew(self, rows: Sequence[ProduceRequest]) -> None:
        transactions.commit(lambda: ProduceRequest.objects.renew(rows))


def _append_of(job: Job) -> AppendRequest:
    row, plan = job.row, job.plan
    assert plan is not None

    def complete(results: Results) -> None:
        outcomes = plan.outcomes(results)
        _check_finished(outcomes)
        row.complete(outcomes)

    return AppendRequest(plan.writes, complete, row.pk, row.trace_id)


def _check_finished(outcomes: Outcomes) -> None:
    """Raise Unfinished if a record is in doubt or may be written later, because an accepted record must not be lost."""
    for failure in outcomes.failures:
        if failure.retriable or failure.code == OutcomeUnknown.code:
            raise Unfinished(failure.error)
