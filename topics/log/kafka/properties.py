"""The librdkafka properties of the clients: the user's, overridden by those that the product's guarantees need.

https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
"""

import logging
import re
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer
from django.conf import settings

from topics.log.kafka.refusal import Refusal

Properties = dict[str, Any]

# Properties that the product sets itself, and why a user's value is rejected.
OWN = {
    "acks": "a response means that all in-sync replicas have the record",
    "request.required.acks": "a response means that all in-sync replicas have the record",
    "enable.idempotence": "a retry inside the client must not write a record twice",
    "compression.type": "every request chooses its own codec",
    "compression.codec": "every request chooses its own codec",
    "delivery.timeout.ms": "it is derived from TAKHIN_PRODUCE_TIMEOUT",
    "message.timeout.ms": "it is derived from TAKHIN_PRODUCE_TIMEOUT",
    "transactional.id": "every worker has its own",
    "partitioner": "the server chooses partitions itself, as Kafka's Java client does",
    "group.id": "records are read by offset, without a consumer group",
    "enable.auto.commit": "records are read by offset, without a consumer group",
    "auto.offset.reset": "reading an offset that is no longer kept is an error",
    "isolation.level": "uncommitted records of transactions are not shown",
    "enable.partition.eof": "reads must detect the end of the log",
}
# These apply only to producers or only to consumers; the other clients would log warnings about them.
_PRODUCER_ONLY = ("queue.buffering.", "linger.ms", "batch.", "retries", "retry.backoff", "transaction.", "sticky.")
_CONSUMER_ONLY = ("fetch.", "queued.", "session.timeout.ms", "max.poll.interval.ms", "check.crcs")

# Each record in its own batch, one after another: a rejection disturbs the batches in flight behind it, and librdkafka
# resends those after its backoff, so a hundred rejections would take ten seconds.
ALONE: Properties = {"batch.num.messages": 1, "max.in.flight.requests.per.connection": 1, "retry.backoff.ms": 5}

# librdkafka's own batch limits.
BATCH_BYTES = 1_000_000
BATCH_RECORDS = 10_000

# librdkafka logs every refused connection, several times a second.
QUIET_SECONDS = 60.0


class _OncePerMinute(logging.Filter):
    """Pass the same message once a minute, ignoring durations and client names in it."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = re.sub(r"\[[^]]*\]|\(after [^)]*\)|\d+ms", "", record.getMessage())
        now = time.monotonic()
        if now - self._said.get(text, -QUIET_SECONDS) < QUIET_SECONDS:
            return False
        if len(self._said) > 1000:
            self._said.clear()
        self._said[text] = now
        return True


log = logging.getLogger("takhin.kafka")
_once = _OncePerMinute()
log.addFilter(_once)


def budget_ms() -> int:
    """Return how long librdkafka may try to deliver a record.

    It checks its timeouts once a second, and the response must be sent within TAKHIN_PRODUCE_TIMEOUT.
    """
    return max(1000, settings.TAKHIN_PRODUCE_TIMEOUT * 1000 - 2000)


def _given(is_wanted: Callable[[str], bool]) -> Properties:
    return {name: value for name, value in settings.KAFKA.items() if is_wanted(name) and name not in OWN}


def common() -> Properties:
    """Return the properties of every client."""
    return {
        "client.id": "takhin",
        "socket.keepalive.enable": True,
        # An unreachable broker must not use up the whole time of a request.
        "socket.connection.setup.timeout.ms": 5000,
        "reconnect.backoff.max.ms": 2000,
        **_given(lambda name: not name.startswith(_PRODUCER_ONLY + _CONSUMER_ONLY)),
        "logger": log,
    }


def admin(refusal: Refusal) -> Properties:
    """Return the properties of the client that watches and changes topics, and notes why it is refused."""
    # A logger of its own, because others have other filters.
    logger = logging.Logger(log.name)
    logger.parent = log
    logger.addFilter(refusal)
    logger.addFilter(_once)
    # A broker that hangs must not be asked again and again: after this time, the client turns to another one.
    return {"socket.timeout.ms": 3000, **common(), "logger": logger, "error_cb": refusal.note}


def producer(codec: str, alone: bool = False) -> Properties:
    """Return the properties of the idempotent producer for one codec; `alone` puts each record in its own batch."""
    return {
        # Limits the memory of records in flight; librdkafka's own default is 1 GiB.
        "queue.buffering.max.kbytes": queue_bytes() // 1024,
        "queue.buffering.max.messages": queue_records(),
        # Leaves time to switch from a hanging broker to the partition's next leader.
        "socket.timeout.ms": budget_ms() // 3,
        "request.timeout.ms": budget_ms() // 3,
        # The records of a request are queued together, so there is nothing to wait for.
        "linger.ms": 0,
        "message.max.bytes": record_bytes(),
        # For metrics.
        "statistics.interval.ms": 10_000,
        **common(),
        **_given(lambda name: name.startswith(_PRODUCER_ONLY)),
        "acks": "all",
        "enable.idempotence": True,
        "compression.type": codec,
        "delivery.timeout.ms": budget_ms(),
        **(ALONE if alone else {}),
    }


def transactional(name: str, codec: str) -> Properties:
    """Return the properties of a transactional producer of one worker slot."""
    return {
        **producer(codec),
        # A request's records for a partition form one batch, unless it is too large: the session flushes explicitly.
        "linger.ms": 1000,
        "batch.size": BATCH_BYTES,
        "batch.num.messages": BATCH_RECORDS,
        "message.max.bytes": max(BATCH_BYTES, record_bytes()),
        "transactional.id": name,
        # Longer than a delivery, but shorter than a slot's lease, so that a dead worker's transaction is aborted first.
        "transaction.timeout.ms": 15_000,
        "delivery.timeout.ms": min(8000, budget_ms()),
    }


def consumer() -> Properties:
    """Return the properties of a consumer that reads at explicit offsets."""
    return {
        "fetch.wait.max.ms": 10,
        "queued.max.messages.kbytes": 16 * 1024,
        **common(),
        **_given(lambda name: name.startswith(_CONSUMER_ONLY)),
        "group.id": "takhin",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
    }


def new_consumer(more: Properties | None = None) -> Consumer:
    return Consumer({**consumer(), **(more or {})})


def record_bytes() -> int:
    """Return TAKHIN_MAX_RECORD_BYTES plus an allowance for a record's framing and headers."""
    return int(settings.TAKHIN_MAX_RECORD_BYTES) + 64 * 1024


def queue_records() -> int:
    """Return the maximum number of records in flight: always enough for two of the largest requests."""
    return max(100_000, 2 * int(settings.TAKHIN_MAX_RECORDS))


def queue_bytes() -> int:
    return max(64 * 1024 * 1024, 2 * int(settings.TAKHIN_MAX_BODY_BYTES))
