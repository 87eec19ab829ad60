"""Plan a request to several topics: one plan for each topic, together in the records' order."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from core.errors import StorageError
from producer.errors import RecordError, RecordFailure
from producer.models import Outcomes
from producer.pipeline.plan import Plan, Size, TopicPlan
from topics.log.contract import Results
from topics.log.errors import NotAttempted
from topics.log.records import RecordMetadata

T = TypeVar("T", bound=RecordMetadata | RecordFailure)


class Part(msgspec.Struct, frozen=True):
    """The plan for one topic, and the places of its records among all of the request."""

    plan: TopicPlan
    indexes: Sequence[int]


class TopicsPlan(Plan):
    """The plans of a request to several topics. `missing` has the failures of records whose topic does not exist."""

    def __init__(self, parts: Sequence[Part], missing: Mapping[int, RecordFailure], strict: bool, size: Size) -> None:
        super().__init__()
        self.strict = strict
        self.is_costly = any(part.plan.is_costly for part in parts)
        self._parts = parts
        self._missing = missing
        self._left = [part.plan for part in parts]
        self._size = size

    @property
    def seconds(self) -> float:
        return sum(part.plan.seconds for part in self._parts)

    @property
    def bytes(self) -> int:
        return self._size.bytes

    def serialize(self, seconds: float, record_seconds: float | None = None) -> bool:
        began = time.monotonic()
        while self._left:
            passed = time.monotonic() - began
            if passed > seconds:
                return False
            for_record = None if record_seconds is None else record_seconds - passed
            if not self._left[0].serialize(seconds - passed, for_record):
                return False
            del self._left[0]
        if self.strict and (self._missing or any(part.plan.failed_count for part in self._parts)):
            self.give_up(NotAttempted())
        self.writes = [write for part in self._parts for write in part.plan.writes]
        return True

    def give_up(self, reason: NotAttempted) -> None:
        for part in self._parts:
            part.plan.give_up(reason)
        self._left, self.writes = [], []

    def outcomes(self, results: Results) -> Outcomes:
        rest = iter(results)
        return self._together([part.plan.outcomes([next(rest) for _ in part.plan.writes]) for part in self._parts])

    def failed(self, reason: RecordError | StorageError) -> Outcomes:
        return self._together([part.plan.failed(reason) for part in self._parts])

    def _together(self, each: Sequence[Outcomes]) -> Outcomes:
        """Return the outcomes of all parts in the records' order, with their topics."""
        found = dict(self._missing) | dict(self._placed(each))
        return Outcomes([found[index] for index in sorted(found)])

    def _placed(self, each: Sequence[Outcomes]) -> Iterator[tuple[int, Any]]:
        for part, outcomes in zip(self._parts, each, strict=True):
            for index, outcome in zip(part.indexes, outcomes, strict=True):
                yield index, with_topic(outcome, part.plan.topic)


def with_topic(outcome: T, topic: str) -> T:
    """Return the outcome as it is in the response to a request to several topics."""
    return msgspec.structs.replace(outcome, topic=topic)
