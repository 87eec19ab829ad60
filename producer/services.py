"""Turn a decoded request into offsets: at once, or later by a worker. No HTTP here."""

import functools
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
import structlog
from django.conf import settings

from producer import decoding, notices
from producer.bodies import Body
from producer.decoding import InboundRecord, InlineSchemas
from producer.errors import RecordFailure
from producer.formats import AVRO
from producer.models import ApiKey, Mode, Outcome, ProduceRequest, Scope
from producer.options import Options
from producer.plans import Outcomes, Plan
from producer.schemas.guarded import source_for
from producer.schemas.resolution import resolve
from topics import commits
from topics.backends.base import Log, Results
from topics.errors import LogUnavailable, NotAttempted, OutcomeUnknown, TopicExists

log = structlog.get_logger("takhin.produce")
# A hundred times what the 10,000 most costly ordinary records of 10 MiB take.
MOST_SERIALIZING_SECONDS = 60.0
# How long a request is serialized before others have their turn. Ten thousand ordinary records take less.
SLICE_SECONDS = 0.1
_costly = threading.Lock()
# What is left of a request's time when serializing has taken it all but a moment.
LEAST_SECONDS = 0.001


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Inbound(msgspec.Struct, frozen=True):
    """A produce request with its body decoded, as a view hands it over."""

    topic: str
    records: list[InboundRecord]
    options: Options
    body: Body
    api_key: ApiKey | None
    http_request_id: str


def with_schemas(
    topic_log: Log, topic: str, options: Options, inline: InlineSchemas, api_key: ApiKey | None
) -> Options:
    """The options with the ids of the schemas that a request means; registers an inline one where that is allowed."""

    def registrar() -> str | None:
        if api_key is not None and not api_key.has_scope(Scope.SCHEMAS):
            return None
        if not topic_log.topic(topic).config.registers_schemas:
            return None
        return "" if api_key is None else api_key.prefix

    if AVRO not in (options.key_format, options.value_format) and inline == InlineSchemas():
        return options
    return resolve(source_for(api_key), topic, options, inline, registrar)


def produce(topic_log: Log, inbound: Inbound) -> Outcomes:
    """Write a request's records now and return one outcome for each, in order.

    1. Serialize each record and choose its partition, or note why not; write nothing if there is no time for all.
    2. Append one batch per partition.
    3. Keep the outcome in the request's row; both in one transaction where the log has any.

    Raises TopicNotFound, SchemaNotFound, InvalidSchema, RegistryUnavailable.
    """
    row = _row(inbound, Mode.SYNC)
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
    except (LogUnavailable, OutcomeUnknown) as error:
        log.warning("append failed", topic=inbound.topic, error=str(error), exc_info=error.__cause__)
        failed: Outcomes = list(plan.failed(error))
        if not topic_log.supports_transactions:
            _keep_if_possible(keep, failed)
        return failed


def _serialize(plan: Plan, seconds: float) -> bool:
    """Make the plan in this time; whether it is complete. Past the first slice, requests take turns with one another:
    together they would leave the processor to nobody else.
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
    """Keep what the log has decided already: a database that is down changes nothing about it."""
    try:
        commits.run(lambda: keep(outcomes))
    except (LogUnavailable, OutcomeUnknown) as error:
        log.warning("the request's outcome is not tracked", error=str(error))


def submit(inbound: Inbound) -> ProduceRequest:
    """Accept a request for a worker: once this returns, it is durable. Raises LogUnavailable."""
    row = _row(inbound, Mode.ASYNC)
    row.keep_body(inbound.body.data)
    commits.run(row.insert)
    notices.work_arrived()
    return row


def run(topic_log: Log, row: ProduceRequest) -> None:
    """Write an accepted request's records and complete its row, without taking turns with others. Raises as `write`."""
    plan = plan_of(topic_log, row)
    advance(plan, MOST_SERIALIZING_SECONDS)
    write(topic_log, row, plan)


def write(topic_log: Log, row: ProduceRequest, plan: Plan) -> None:
    """Append what an accepted request's plan writes and complete its row, in one transaction where the log has any.

    Raises LogUnavailable (try again), TopicNotFound, and Overtaken (another worker has it, and this one's append is
    undone where the log has transactions). Elsewhere a try may have written some of the records before; each carries
    the request's id, so that consumers can tell.
    """
    if topic_log.supports_transactions:
        append(topic_log, row.topic, plan, row.complete)
    else:
        plan.mark(row.pk)
        append(topic_log, row.topic, plan, lambda outcomes: _complete_unless_to_be_tried_again(row, outcomes))
    notices.finished(row.pk)


def _complete_unless_to_be_tried_again(row: ProduceRequest, outcomes: Outcomes) -> None:
    """What was accepted must not be lost: a record in doubt is written again rather than given up."""
    for outcome in outcomes:
        if isinstance(outcome, RecordFailure) and (outcome.retriable or outcome.code == OutcomeUnknown.code):
            raise LogUnavailable(outcome.error)
    commits.run(lambda: row.complete(outcomes))


def plan_of(topic_log: Log, row: ProduceRequest) -> Plan:
    """Where the records of an accepted request go, once it has been advanced.

    Raises TopicNotFound, SchemaNotFound, InvalidSchema, RegistryUnavailable.
    """
    body = row.read_body()
    plan = _plan(topic_log, row.topic, decoding.decode(body, row.ndjson).records, row.read_options(), row)
    plan.body_bytes = len(body)
    return plan


def advance(plan: Plan, seconds: float) -> bool:
    """Go on with an accepted request's plan for this long; whether it is complete.

    One that takes MOST_SERIALIZING_SECONDS in all is complete too, and writes nothing.
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
    """Raise LogUnavailable while one of its records can go nowhere: it is all written later, and holds up no other."""
    topic_log.check_online(row.topic, [write.partition for write in plan.writes])


def _plan(topic_log: Log, topic: str, records: Sequence[InboundRecord], options: Options, row: ProduceRequest) -> Plan:
    accepted_ms = int(row.created_at.timestamp() * 1000)
    return Plan(records, options, topic_log.partition_count(topic), accepted_ms, topic_log.check_record)


def append(
    topic_log: Log, topic: str, plan: Plan, keep: Callable[[Outcomes], None], seconds: float | None = None
) -> Outcomes:
    """Append what a plan writes and hand every record's outcome to `keep`."""
    kept: list[Outcomes] = []

    def also(results: Results) -> None:
        outcomes = plan.outcomes(results)
        keep(outcomes)
        kept.append(outcomes)

    if plan.writes:
        topic_log.append(topic, plan.writes, also, seconds)
    elif topic_log.supports_transactions:
        commits.run(lambda: also([]))
    else:
        also([])
    return kept[-1]


def _row(inbound: Inbound, mode: Mode) -> ProduceRequest:
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
    """Whether every record failed and may succeed when sent again as it is."""
    return all(isinstance(outcome, RecordFailure) and outcome.retriable for outcome in outcomes)


def any_in_doubt(outcomes: Sequence[Outcome]) -> bool:
    """Whether a record may or may not have been written."""
    return any(isinstance(outcome, RecordFailure) and outcome.code == OutcomeUnknown.code for outcome in outcomes)


def any_written(outcomes: Sequence[Outcome]) -> bool:
    return not all(isinstance(outcome, RecordFailure) for outcome in outcomes)


def wait_until_finished(find: Callable[[], ProduceRequest], seconds: float) -> ProduceRequest:
    """The request once it is finished, or as it is when the time is up."""
    deadline = time.monotonic() + seconds
    row = find()
    while not row.is_finished and (left := deadline - time.monotonic()) > 0:
        notices.wait_finished(row.pk, min(left, 0.25))
        row = find()
    return row


def create_topic_if_absent(topic_log: Log, topic: str) -> None:
    """For auto-creation: another request may have been faster. Raises InvalidTopic."""
    try:
        topic_log.create_topic(topic, settings.TAKHIN_DEFAULT_PARTITIONS)
    except TopicExists:
        return
