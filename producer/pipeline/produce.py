"""Write a decoded request's records now, and save what became of them."""

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import structlog
from django.conf import settings

from core.api.bodies import Body
from core.errors import OutcomeUnknown, StorageUnavailable
from producer.models import ApiKey, ProduceRequest, RequestMode
from producer.options import Options
from producer.pipeline.decode import InboundRecord
from producer.pipeline.plan import Outcomes, Plan
from topics.log.contract import BookkeepingFailed, Log, Results
from topics.log.errors import NotAttempted

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
    records: list[InboundRecord]
    options: Options
    body: Body
    api_key: ApiKey | None
    http_request_id: str


def produce(topic_log: Log, inbound: Inbound) -> Outcomes:
    """Write a request's records now and return one outcome per record, in order.

    1. Serialize each record and choose its partition, or record its error. If time runs out, write nothing.
    2. Append one batch per partition.
    3. Save the outcomes in the request's row, in the append's transaction if the log supports that.

    Raises TopicNotFound, SchemaNotFound, InvalidSchema, RegistryUnavailable.
    """
    row = new_row(inbound, RequestMode.SYNC)
    row.started_at = row.created_at
    plan = plan_of(topic_log, row, inbound.records, inbound.options)
    seconds = None if inbound.options.timeout_ms is None else inbound.options.timeout_ms / 1000
    began = time.monotonic()
    if not _serialize(plan, seconds or settings.TAKHIN_PRODUCE_TIMEOUT):
        plan.give_up(NotAttempted("the request timed out while its records were being serialized", retriable=True))
    if seconds is not None:
        seconds = max(seconds - (time.monotonic() - began), LEAST_SECONDS)
    return _append(topic_log, row, plan, inbound.body.data, seconds)


def _append(topic_log: Log, row: ProduceRequest, plan: Plan, body: bytes, seconds: float | None) -> Outcomes:
    def save(results: Results) -> Outcomes:
        outcomes = plan.outcomes(results)
        row.settle(outcomes)
        if row.written_count < row.record_count:
            row.keep_body(body)
        row.completed_at = datetime.now(UTC)
        row.insert()
        return outcomes

    try:
        return topic_log.append(row.topic, plan.writes, save, seconds)
    except BookkeepingFailed as error:
        log.warning("the request's outcome is not tracked", error=str(error))
        return plan.outcomes(error.results)
    except (StorageUnavailable, OutcomeUnknown) as error:
        log.warning("append failed", topic=row.topic, error=str(error), exc_info=error.__cause__)
        return list(plan.failed(error))


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


def plan_of(topic_log: Log, row: ProduceRequest, records: Sequence[InboundRecord], options: Options) -> Plan:
    """Return a request's plan, for `Plan.serialize` to complete.

    Raises TopicNotFound, SchemaNotFound, InvalidSchema, RegistryUnavailable.
    """
    accepted_ms = int(row.created_at.timestamp() * 1000)
    return Plan(records, options, topic_log.partition_count(row.topic), accepted_ms, topic_log.check_record)


def new_row(inbound: Inbound, mode: RequestMode) -> ProduceRequest:
    return ProduceRequest(
        http_request_id=inbound.http_request_id,
        topic=inbound.topic,
        mode=mode,
        api_key=inbound.api_key,
        options=msgspec.json.encode(inbound.options).decode(),
        dialect=inbound.dialect,
        record_count=len(inbound.records),
        body_bytes=inbound.body.sent_bytes,
        created_at=datetime.now(UTC),
    )
