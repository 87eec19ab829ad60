"""Plan the records of a request that have failed before. The others keep their outcomes."""

from datetime import datetime

from core.errors import StorageError
from producer.errors import RecordError, RecordFailure
from producer.models import Outcomes
from producer.options import Options
from producer.pipeline.inbound import Decoded
from producer.pipeline.plan import Plan
from producer.pipeline.produce import plan_of
from topics.log.contract import Log, Results
from topics.log.errors import NotAttempted


class RetryPlan(Plan):
    """The plan of the records at `indexes`, with the outcomes of an earlier attempt to write all of them."""

    def __init__(self, plan: Plan, indexes: list[int], earlier: Outcomes) -> None:
        super().__init__()
        self.strict, self.is_costly = plan.strict, plan.is_costly
        self._plan = plan
        self._indexes = indexes
        self._earlier = earlier

    @property
    def seconds(self) -> float:
        return self._plan.seconds

    @property
    def bytes(self) -> int:
        return self._plan.bytes

    def serialize(self, seconds: float, record_seconds: float | None = None) -> bool:
        is_complete = self._plan.serialize(seconds, record_seconds)
        self.writes = self._plan.writes
        return is_complete

    def give_up(self, reason: NotAttempted) -> None:
        self._plan.give_up(reason)
        self.writes = []

    def outcomes(self, results: Results) -> Outcomes:
        return self._merged(self._plan.outcomes(results))

    def failed(self, reason: RecordError | StorageError) -> Outcomes:
        return self._merged(self._plan.failed(reason))

    def _merged(self, later: Outcomes) -> Outcomes:
        merged = list(self._earlier)
        for index, outcome in zip(self._indexes, later, strict=True):
            merged[index] = outcome
        return Outcomes(merged)


def retry_plan(
    topic_log: Log, topic: str, accepted_at: datetime, decoded: Decoded, options: Options, earlier: Outcomes
) -> RetryPlan:
    """Return the plan of the records that have failed. Raises what `plan_of` raises."""
    indexes = [index for index, outcome in enumerate(earlier) if isinstance(outcome, RecordFailure)]
    return RetryPlan(plan_of(topic_log, topic, accepted_at, decoded, options, indexes), indexes, earlier)
