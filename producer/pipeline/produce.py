"""Write a decoded request's records now, and save what became of them."""

import threading
import time
from datetime import UTC, datetime
from functools import partial

import msgspec
import structlog
from django.conf import settings
from django.db import IntegrityError

from core import spans, turns
from core.api.bodies import Body
from core.errors import OutcomeUnknown, StorageUnavailable
from producer.errors import RecordFailure
from producer.measures import APPEND_SECONDS, SERIALIZATION_SECONDS
from producer.models import ApiKey, NewKey, NewRequest, Outcomes, new_request, options_text
from producer.options import Options
from producer.pipeline.inbound import Decoded
from producer.pipeline.plan import Plan, Size, TopicPlan, failure_of
from producer.pipeline.topics_plan import Part, TopicsPlan, with_topic
from topics.log.contract import BookkeepingFailed, Log, Results
from topics.log.errors import NotAttempted, TopicNotFound

log = structlog.get_logger("takhin.produce")
# A hundred times as long as the 10,000 slowest ordinary records of 10 MiB take.
MOST_SERIALIZING_SECONDS = 60.0
# How long a request is serialized before others get their turn. Ten thousand ordinary records take less.
SLICE_SECONDS = 0.1
_costly = threading.Lock()
# The least time left for the append when serializing has used up the request's time.
LEAST_SECONDS = 0.001


class Inbound(msgspec.Struct, frozen=True):
    """A produce request with its decoded body, as a view passes it on."""

    topic: str
    dialect: str
    decoded: Decoded
    options: Options
    body: Body
    api_key: ApiKey | None
    request_id: str
    # The X-Request-Id, if the client sent one.
    http_request_id: str | None
    idempotency_key: NewKey | None = None


class KeyTaken(Exception):
    """Another request has just used this one's idempotency key. Nothing was written."""


def produce(topic_log: Log, inbound: Inbound) -> Outcomes:
    """Write a request's records now and return one outcome per record, in order.

    1. Serialize each record and choose its partition, or record its error. If time runs out, write nothing.
    2. Append one batch per partition.
    3. Save the outcomes in the request's row, in the append's transaction if the log supports that.

    Raises KeyTaken, TopicNotFound, SchemaNotFound, InvalidSchema, RegistryUnavailable.
    """
    now = datetime.now(UTC)
    plan, seconds = planned(topic_log, inbound, now)
    return append(topic_log, inbound, now, plan, seconds)


def planned(topic_log: Log, inbound: Inbound, now: datetime) -> tuple[Plan, float | None]:
    """Return the request's plan and how many seconds are left for the append, or None for the default.

    Raises TopicNotFound, SchemaNotFound, InvalidSchema, RegistryUnavailable.
    """
    plan = plan_of(topic_log, inbound.topic, now, inbound.decoded, inbound.options)
    seconds = None if inbound.options.timeout_ms is None else inbound.options.timeout_ms / 1000
    began = time.monotonic()
    with spans.span("serialize", topic=inbound.topic):
        is_complete = _serialize(plan, seconds or settings.TAKHIN_PRODUCE_TIMEOUT)
    turns.give_way()
    SERIALIZATION_SECONDS.observe(plan.seconds)
    if not is_complete:
        plan.give_up(NotAttempted("the request timed out while its records were being serialized", retriable=True))
    if seconds is not None:
        seconds = max(seconds - (time.monotonic() - began), LEAST_SECONDS)
    return plan, seconds


def append(topic_log: Log, inbound: Inbound, now: datetime, plan: Plan, seconds: float | None) -> Outcomes:
    """Append what the plan writes, and save the outcomes. Raises KeyTaken, TopicNotFound."""
    key = inbound.idempotency_key

    def save(results: Results) -> Outcomes:
        outcomes = plan.outcomes(results)
        if outcomes.failures or settings.TAKHIN_TRACK_SYNC == "all":
            row = new_row(inbound, now)
            if outcomes.failures:
                row.keep_body(inbound.body.data)
            row.finish(outcomes)
        if key is not None and outcomes.written_count:
            key.use(inbound.request_id, options_text(inbound.options), outcomes, is_async=False)
        return outcomes

    # Who looks for a request that failed, or was sent again, must find it.
    may_save_later = key is None and plan.count == len(inbound.decoded.records)
    began = time.monotonic()
    try:
        with spans.span("append", topic=inbound.topic):
            outcomes = topic_log.append(plan.writes, save, seconds, may_save_later=may_save_later)
        APPEND_SECONDS.observe(time.monotonic() - began)
        return outcomes
    except IntegrityError as error:
        if key is None:
            raise
        raise KeyTaken from error
    except BookkeepingFailed as error:
        log.warning("outcome_not_tracked", error=str(error))
        return plan.outcomes(error.results)
    except (StorageUnavailable, OutcomeUnknown) as error:
        log.warning("append_failed", topic=inbound.topic, error=str(error), exc_info=error.__cause__)
        return plan.failed(error)


def _serialize(plan: Plan, seconds: float) -> bool:
    """Complete the plan within this time. Return whether it is complete.

    After their first slice, costly requests take turns, because together they would starve all others of the CPU.
    """
    until = time.monotonic() + seconds
    done = plan.serialize(min(SLICE_SECONDS, seconds) if plan.is_costly else seconds, seconds)
    while not done and (left := until - time.monotonic()) > 0 and _costly.acquire(timeout=left):
        try:
            done = plan.serialize(min(SLICE_SECONDS, left), left)
        finally:
            _costly.release()
    return done


def plan_of(
    topic_log: Log,
    topic: str,
    accepted_at: datetime,
    decoded: Decoded,
    options: Options,
    indexes: list[int] | None = None,
) -> Plan:
    """Return the plan of a request, or of its records at these indexes, for `Plan.serialize` to complete.

    Raises TopicNotFound, SchemaNotFound, InvalidSchema, RegistryUnavailable.
    """
    accepted_ms = int(accepted_at.timestamp() * 1000)
    if decoded.topics:
        return _topics_plan(topic_log, accepted_ms, decoded, options, indexes)
    count = topic_log.partition_count(topic)
    part = decoded if indexes is None else decoded.at(indexes)
    return TopicPlan(topic, part, options, count, accepted_ms, partial(topic_log.check_records, topic), indexes)


def _topics_plan(
    topic_log: Log, accepted_ms: int, decoded: Decoded, options: Options, chosen_indexes: list[int] | None
) -> TopicsPlan:
    """Raises TopicNotFound if none of the topics exists."""
    places: dict[str, list[int]] = {}
    for index in range(len(decoded.topics)) if chosen_indexes is None else chosen_indexes:
        places.setdefault(decoded.topics[index], []).append(index)
    size, parts, missing = Size(), list[Part](), dict[int, RecordFailure]()
    for topic, indexes in places.items():
        chosen = options.of_topic(topic)
        try:
            if chosen is None:
                raise TopicNotFound(topic)
            count = topic_log.partition_count(topic)
        except TopicNotFound as error:
            if len(places) == 1:
                raise
            missing |= {index: with_topic(failure_of(index, error), topic) for index in indexes}
            continue
        check = partial(topic_log.check_records, topic)
        part = decoded.at(indexes)
        parts.append(Part(TopicPlan(topic, part, chosen, count, accepted_ms, check, indexes, size), indexes))
    if not parts:
        raise TopicNotFound(next(iter(places)))
    return TopicsPlan(parts, missing, options.strict or options.atomic, size)


def new_row(inbound: Inbound, now: datetime) -> NewRequest:
    row = new_request(
        inbound.request_id,
        inbound.http_request_id,
        inbound.topic,
        inbound.api_key,
        inbound.options,
        inbound.dialect,
        len(inbound.decoded.records),
        inbound.body.sent_bytes,
        now,
    )
    if (key := inbound.idempotency_key) is not None:
        row.idempotency_key, row.fingerprint = key.id, key.fingerprint
    return row
