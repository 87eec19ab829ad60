"""Accept a request for a worker to write."""

import time
from datetime import UTC, datetime

import structlog
from django.conf import settings
from django.db import IntegrityError

from core import crashes, wakeups
from core.database import notifications, transactions
from core.errors import StorageUnavailable
from producer.models import Outcomes, options_text
from producer.pipeline.produce import Inbound, KeyTaken, append, new_row, planned
from topics.log.contract import Log

log = structlog.get_logger("takhin.produce")


def accept(inbound: Inbound, *, is_async: bool = True) -> None:
    """Save the request. When this returns, it is durable. Raises KeyTaken, StorageUnavailable, OutcomeUnknown."""
    row = new_row(inbound, datetime.now(UTC))
    row.keep_body(inbound.body.data)
    key = inbound.idempotency_key

    def save() -> None:
        row.accept(is_async=is_async)
        if key is not None:
            key.use(inbound.request_id, options_text(inbound.options), None, is_async=is_async)

    try:
        crashes.at("accept.before")
        transactions.commit(save)
        crashes.at("accept.after")
    except IntegrityError as error:
        if key is None:
            raise
        raise KeyTaken from error
    wakeups.work_arrived()
    notifications.work_arrived()


def accept_to_wait(topic_log: Log, inbound: Inbound) -> Outcomes | float:
    """Accept a sync request that a worker writes exactly once. Return how many seconds to wait for it.

    If nothing can be written now, it is not accepted, and its outcomes are returned.

    Raises KeyTaken, TopicNotFound, SchemaNotFound, InvalidSchema, RegistryUnavailable, StorageUnavailable,
    OutcomeUnknown.
    """
    began, now = time.monotonic(), datetime.now(UTC)
    plan, seconds = planned(topic_log, inbound, now)
    if not plan.writes:
        return append(topic_log, inbound, now, plan, seconds)
    try:
        topic_log.check()
        topic_log.check_writable(plan.writes)
    except StorageUnavailable as error:
        log.warning("request_not_accepted", topic=inbound.topic, error=str(error))
        return plan.failed(error)
    accept(inbound, is_async=False)
    return seconds if seconds is not None else settings.TAKHIN_PRODUCE_TIMEOUT - (time.monotonic() - began)
