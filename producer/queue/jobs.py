"""Plan claimed requests a slice at a time, so that costly ones do not delay the others."""

import time
from dataclasses import dataclass, field

from producer.models import Outcomes, ProduceRequest
from producer.pipeline.dialects import DIALECTS
from producer.pipeline.plan import Plan
from producer.pipeline.produce import MOST_SERIALIZING_SECONDS, plan_of
from producer.pipeline.retry_plan import retry_plan
from topics.log.contract import Log
from topics.log.errors import NotAttempted


@dataclass(slots=True, eq=False)
class Job:
    """A claimed request, with its plan from the first turn on."""

    row: ProduceRequest
    plan: Plan | None = None
    started: float = field(default_factory=time.perf_counter)

    @property
    def size(self) -> int:
        """The bytes that an unfinished request keeps in memory."""
        return 0 if self.plan is None else self.plan.bytes + self.plan.body_bytes

    def advance(self, topic_log: Log, seconds: float) -> bool:
        """Work on the plan for this long. Return whether it is complete.

        A plan that takes MOST_SERIALIZING_SECONDS in total is completed too, and writes nothing. Raises
        StorageUnavailable if a partition cannot be written, so that the request is tried again later and blocks no
        other, and TopicNotFound, SchemaNotFound, InvalidSchema, RegistryUnavailable.
        """
        if self.plan is None:
            self.plan = _plan(topic_log, self.row)
        if not _serialize(self.plan, seconds):
            return False
        topic_log.check_writable(self.plan.writes)
        return True


def _plan(topic_log: Log, row: ProduceRequest) -> Plan:
    body = row.read_body()
    decoded = DIALECTS[row.dialect].decode(body)
    earlier = row.read_outcomes()
    if earlier is None:
        plan = plan_of(topic_log, row.topic, row.created_at, decoded, row.read_options())
    else:
        plan = retry_plan(topic_log, row.topic, row.created_at, decoded, row.read_options(), Outcomes.unpacked(earlier))
    plan.body_bytes = len(body)
    return plan


def _serialize(plan: Plan, seconds: float) -> bool:
    left = MOST_SERIALIZING_SECONDS - plan.seconds
    if plan.serialize(min(seconds, left) if plan.is_costly else left, left):
        return True
    if plan.seconds < MOST_SERIALIZING_SECONDS:
        return False
    reason = f"the request takes more than {MOST_SERIALIZING_SECONDS:.0f} seconds to serialize; send fewer at once"
    plan.give_up(NotAttempted(reason))
    return True
