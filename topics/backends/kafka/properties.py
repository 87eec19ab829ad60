"""The properties of librdkafka that the clients are made with: the user's, and above them what the product promises.

https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
"""

import logging
import re
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer
from django.conf import settings

Properties = dict[str, Any]

# What the product sets itself, and why a user's value is refused.
OWN = {
    "acks": "an answer means that all in-sync replicas have the record",
    "request.required.acks": "an answer means that all in-sync replicas have the record",
    "enable.idempotence": "a retry inside the client must not write a record twice",
    "compression.type": "every request names its own codec",
    "compression.codec": "every request names its own codec",
    "delivery.timeout.ms": "it follows TAKHIN_PRODUCE_TIMEOUT",
    "message.timeout.ms": "it follows TAKHIN_PRODUCE_TIMEOUT",
    "transactional.id": "every worker has its own",
    "partitioner": "the gateway itself chooses partitions, as Kafka's Java client does",
    "group.id": "records are read by offset, in no group",
    "enable.auto.commit": "records are read by offset, in no group",
    "auto.offset.reset": "an offset that is not kept is an error",
    "isolation.level": "what a transaction has not committed is not shown",
    "enable.partition.eof": "a read must know where the log ends",
}
# These belong to producers or consumers alone; the other clients would warn of them.
_PRODUCER_ONLY = ("queue.buffering.", "linger.ms", "batch.", "retries", "retry.backoff", "transaction.", "sticky.")
_CONSUMER_ONLY = ("fetch.", "queued.", "session.timeout.ms", "max.poll.interval.ms", "check.crcs")

# Each record in a batch of its own, one after the other: a refusal upsets whatever is behind it on its way, and
# librdkafka sends that again after its backoff, which would make a hundred refusals last ten seconds.
ALONE: Properties = {"batch.num.messages": 1, "max.in.flight.requests.per.connection": 1, "retry.backoff.ms": 5}

# librdkafka's own limits of a batch.
BATCH_BYTES = 1_000_000
BATCH_RECORDS = 10_000

# librdkafka says of each connection, several times a second, that it is refused.
QUIET_SECONDS = 60.0


class _OncePerMinute(logging.Filter):
    """Let the same line through once in a while; what differs is the time it took and which client says it."""

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
log.addFilter(_OncePerMinute())


def budget_ms() -> int:
    """The longest that librdkafka may try to deliver: its timeouts are looked at once a second, and an answer must
    leave within TAKHIN_PRODUCE_TIMEOUT.
    """
    return max(1000, settings.TAKHIN_PRODUCE_TIMEOUT * 1000 - 2000)


def _given(is_wanted: Callable[[str], bool]) -> Properties:
    return {name: value for name, value in settings.KAFKA.items() if is_wanted(name) and name not in OWN}


def common() -> Properties:
    """For every client."""
    return {
        "client.id": "takhin",
        "socket.keepalive.enable": True,
        # A broker that is gone must not cost the whole time of a request.
        "socket.connection.setup.timeout.ms": 5000,
        "reconnect.backoff.max.ms": 2000,
        **_given(lambda name: not name.startswith(_PRODUCER_ONLY + _CONSUMER_ONLY)),
        "logger": log,
    }


def producer(codec: str, alone: bool = False) -> Properties:
    """For the idempotent producer of one codec; `alone` puts each record into a batch of its own."""
    return {
        # Bounds the memory of what is on its way; librdkafka's own default is 1 GiB.
        "queue.buffering.max.kbytes": queue_bytes() // 1024,
        "queue.buffering.max.messages": queue_records(),
        # A broker that hangs is left for the partition's next leader while there is time.
        "socket.timeout.ms": budget_ms() // 3,
        "request.timeout.ms": budget_ms() // 3,
        # Records of one request are queued in one go, and need no time to gather.
        "linger.ms": 0,
        "message.max.bytes": record_bytes(),
        **common(),
        **_given(lambda name: name.startswith(_PRODUCER_ONLY)),
        "acks": "all",
        "enable.idempotence": True,
        "compression.type": codec,
        "delivery.timeout.ms": budget_ms(),
        **(ALONE if alone else {}),
    }


def transactional(name: str, codec: str) -> Properties:
    """For a transactional producer of one worker slot."""
    return {
        **producer(codec),
        # What a request writes to a partition is one batch, unless it is too large: the session says when to send.
        "linger.ms": 1000,
        "batch.size": BATCH_BYTES,
        "batch.num.messages": BATCH_RECORDS,
        "message.max.bytes": max(BATCH_BYTES, record_bytes()),
        "transactional.id": name,
        # Longer than a delivery may take, shorter than a slot's lease: a dead worker's transaction is aborted first.
        "transaction.timeout.ms": 15_000,
        "delivery.timeout.ms": min(8000, budget_ms()),
    }


def consumer() -> Properties:
    """For a consumer that is told where to read."""
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
    """The limit is TAKHIN_MAX_RECORD_BYTES; this one counts a record's framing and headers as well."""
    return int(settings.TAKHIN_MAX_RECORD_BYTES) + 64 * 1024


def queue_records() -> int:
    """Room for what is on its way to the cluster, and always for two of the largest requests."""
    return max(100_000, 2 * int(settings.TAKHIN_MAX_RECORDS))


def queue_bytes() -> int:
    return max(64 * 1024 * 1024, 2 * int(settings.TAKHIN_MAX_BODY_BYTES))
