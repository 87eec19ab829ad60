"""Write a decoded request's records, now or later by a worker. No HTTP here."""

import functools
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
import structlog
from django.conf import settings

from core import wakeups
from core.api.bodies import Body
from core.database import transactions
from core.errors import OutcomeUnknown, StorageUnavailable
from producer.errors import RecordFailure
from producer.formats import AVRO
from producer.models import ApiKey, Outcome, ProduceRequest, RequestMode, Scope
from producer.options import Options
from producer.pipeline import decode
from producer.pipeline.decode import InboundRecord, InlineSchemas
from producer.pipeline.plan import Outcomes, Plan
from producer.pipeline.schemas import resolve
from registry import topic_settings
from registry.sources.guarded import source_for
from topics.log.contract import Log, Results
from topics.log.errors import NotAttempted, TopicExists

log = structlog.get_logger("takhin.produce")
# A hundred times as long as the 10,000 slowest ordinary records of 10 MiB take.
MOST_SERIALIZING_SECONDS = 60.0
# How long a request is serialized before others get their turn. Ten thousand ordinary records take less.
SLICE_SECONDS = 0.1
_costly = threading.Lock()
# The least time left for the append when serializing has used up the request's time.
LEAST_SECONDS = 0.001


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Inbound(msgspec.Struct, frozen=True):
    """A produce request with its decoded body, as a view passes it on."""

    topic: str
    records: list[InboundRecord]
    options: Options
    body: Body
    api_key: ApiKey | None
    http_request_id: str


def with_schemas(topic: str, options: Options, inline: InlineSchemas, api_key: ApiKey | None) -> Options:
    """Return the options with schema ids resolved. Registers inline schemas if that is allowed."""

    def registrar() -> str | None:
        if api_key is not None and not api_key.has_scope(Scope.SCHEMAS):
            return None
        if not topic_settings.registers_schemas(topic):
            return None
        return "" if api_key is None else api_key.prefix

    if AVRO not in (options.key_format, options.value_format) and inline == InlineSchemas():
        return options
    return resolve(source_for(api_key), topic, options, inline, registrar)


def produce(topic_log: Log, inbound: Inbound) -> Outcomes:
    """Write a request's records now and return one outcome per record, in order.

    1. Serialize each record and choose its partition, or record its error. If time runs out, write nothing.
    2. Append one batch per partition.
    3. Save the outcomes in the request's row, in the same transaction if the log supports transactions.

    Raises TopicNotFound, SchemaNotFound, InvalidSchema, RegistryUnavailable.
    """
    row = _row(inbound, RequestMode.SYNC)
    plan = _plan(topic_log, inbound.topic, inbound.records, inbound.options, row)
    seconds = None if inbound.options.timeout_ms is None else inbound.options.timeout_ms / 1000
    began = time.monotonic()
    if not _serialize(plan, seconds or settings.TAKHIN_PRODUCE_TIMEOUT):
        plan.give_up(NotAttempted("the request timed out while its records were being serialized", retriable=True))
    row.started_at = row.created_at

    def keep(outcomes: Outcomes) -> None:
        row.settle(outcomes)
        if row.written_count < row.record_count:
            row.keep_body(inbound.body.data)
        row.completed_at = datetime.now(UTC)
        row.insert()

    if seconds is not None:
        seconds = max(seconds - (time.monotonic() - began), LEAST_SECONDS)
    try:
        if topic_log.supports_transactions:
            return append(topic_log, inbound.topic, plan, keep, seconds)
        return append(topic_log, inbound.topic, plan, functools.partial(_keep_if_possible, keep), seconds)
    except (StorageUnavailable, OutcomeUnknown) as error:
        log.warning("append failed", topic=inbound.topic, error=str(error), exc_info=error.__cause__)
        failed: Outcomes = list(plan.failed(error))
        if not topic_log.supports_transactions:
            _keep_if_possible(keep, failed)
        return failed


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


def _keep_if_possible(keep: Callable[[Outcomes], None], outcomes: Outcomes) -> None:
    """Save the outcomes if the database is up. The log has already decided them."""
    try:
        transactions.commit(lambda: keep(outcomes))
    except (StorageUnavailable, OutcomeUnknown) as error:
        log.warning("the request's outcome is not tracked", error=str(error))


def submit(inbound: Inbound) -> ProduceRequest:
    """Accept a request for a worker. When this returns, the request is durable. Raises StorageUnavailable."""
    row = _row(inbound, RequestMode.ASYNC)
    row.keep_body(inbound.body.data)
    transactions.commit(row.insert)
    wakeups.work_arrived()
    return row


def run(topic_log: Log, row: ProduceRequest) -> None:
    """Write an accepted request's records and complete its row, without taking turns. Raises as `write` does."""
    plan = plan_of(topic_log, row)
    advance(plan, MOST_SERIALIZING_SECONDS)
    write(topic_log, row, plan)


def write(topic_log: Log, row: ProduceRequest, plan: Plan) -> None:
    """Append an accepted request's records and complete its row, in one transaction if the log supports it.

    Raises StorageUnavailable (try again), TopicNotFound, and Overtaken (another worker has claimed the request; a log
    with transactions rolls this append back). On a log without transactions, an earlier attempt may already have
    written some of the records. Each record has the request's id in a header, so that consumers can tell.
    """
    if topic_log.supports_transactions:
        append(topic_log, row.topic, plan, row.complete)
    else:
        plan.mark(row.pk)
        append(topic_log, row.topic, plan, lambda outcomes: _complete_unless_to_be_tried_again(row, outcomes))
    wakeups.finished(row.pk)


def _complete_unless_to_be_tried_again(row: ProduceRequest, outcomes: Outcomes) -> None:
    """Complete the row, unless a record is in doubt or may be retried: an accepted record must not be lost."""
    for outcome in outcomes:
        if isinstance(outcome, RecordFailure) and (outcome.retriable or outcome.code == OutcomeUnknown.code):
            raise StorageUnavailable(outcome.error)
    transactions.commit(lambda: row.complete(outcomes))


def plan_of(topic_log: Log, row: ProduceRequest) -> Plan:
    """Return the plan of an accepted request, for `advance` to complete.

    Raises TopicNotFound, SchemaNotFound, InvalidSchema, RegistryUnavailable.
    """
    body = row.read_body()
    plan = _plan(topic_log, row.topic, decode.decode(body, row.ndjson).records, row.read_options(), row)
    plan.body_bytes = len(body)
    return plan


def advance(plan: Plan, seconds: float) -> bool:
    """Work on an accepted request's plan for this long. Return whether it is complete.

    A plan that takes MOST_SERIALIZING_SECONDS in total is completed too, and writes nothing.
    """
    left = MOST_SERIALIZING_SECONDS - plan.seconds
    if plan.serialize(min(seconds, left) if plan.is_costly else left, left):
        return True
    if plan.seconds < MOST_SERIALIZING_SECONDS:
        return False
    reason = f"the request takes more than {MOST_SERIALIZING_SECONDS:.0f} seconds to serialize; send fewer at once"
    plan.give_up(NotAttempted(reason))
    return True


def check_online(topic_log: Log, row: ProduceRequest, plan: Plan) -> None:
    """Raise StorageUnavailable if a partition is offline, so that the request is retried later and blocks no other."""
    topic_log.check_online(row.topic, [write.partition for write in plan.writes])


def _plan(topic_log: Log, topic: str, records: Sequence[InboundRecord], options: Options, row: ProduceRequest) -> Plan:
    accepted_ms = int(row.created_at.timestamp() * 1000)
    return Plan(records, options, topic_log.partition_count(topic), accepted_ms, topic_log.check_record)


def append(
    topic_log: Log, topic: str, plan: Plan, keep: Callable[[Outcomes], None], seconds: float | None = None
) -> Outcomes:
    """Append a plan's writes, and pass every record's outcome to `keep`."""
    kept: list[Outcomes] = []

    def also(results: Results) -> None:
        outcomes = plan.outcomes(results)
        keep(outcomes)
        kept.append(outcomes)

    if plan.writes:
        topic_log.append(topic, plan.writes, also, seconds)
    elif topic_log.supports_transactions:
        transactions.commit(lambda: also([]))
    else:
        also([])
    return kept[-1]


def _row(inbound: Inbound, mode: RequestMode) -> ProduceRequest:
    return ProduceRequest(
        http_request_id=inbound.http_request_id,
        topic=inbound.topic,
        mode=mode,
        api_key=inbound.api_key,
        options=msgspec.json.encode(inbound.options).decode(),
        ndjson=inbound.body.ndjson,
        record_count=len(inbound.records),
        body_bytes=inbound.body.sent_bytes,
        created_at=datetime.now(UTC),
    )


def all_retriable(outcomes: Sequence[Outcome]) -> bool:
    """Return whether every record failed and may succeed if sent again unchanged."""
    return all(isinstance(outcome, RecordFailure) and outcome.retriable for outcome in outcomes)


def any_in_doubt(outcomes: Sequence[Outcome]) -> bool:
    """Return whether it is unknown if some record was written."""
    return any(isinstance(outcome, RecordFailure) and outcome.code == OutcomeUnknown.code for outcome in outcomes)


def any_written(outcomes: Sequence[Outcome]) -> bool:
    return not all(isinstance(outcome, RecordFailure) for outcome in outcomes)


def wait_until_finished(find: Callable[[], ProduceRequest], seconds: float) -> ProduceRequest:
    """Return the request when it is finished, or its current state when the time is up."""
    deadline = time.monotonic() + seconds
    row = find()
    while not row.is_finished and (left := deadline - time.monotonic()) > 0:
        wakeups.wait_finished(row.pk, min(left, 0.25))
        row = find()
    return row


def create_topic_if_absent(topic_log: Log, topic: str) -> None:
    """Create the topic, unless another request has just created it. Raises InvalidTopic."""
    try:
        topic_log.create_topic(topic, settings.TAKHIN_DEFAULT_PARTITIONS)
    except TopicExists:
        return
