"""What the topics' configurations say about the records they accept, so that others are rejected before they are sent.

https://kafka.apache.org/documentation/#topicconfigs
"""

import time
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter

import msgspec
from confluent_kafka.admin import ConfigEntry

from core import lane
from core.errors import StorageError
from topics.log.compression import CODECS
from topics.log.errors import DeliveryFailed, LogRefused, TopicNotFound
from topics.log.kafka.administration import Administration, effective
from topics.log.records import Record

# How long a topic's configuration may be out of date.
FRESH_SECONDS = 30.0
# A request waits at most this long for the configuration of a topic that was not used before.
ANSWER_SECONDS = 2.0
# The framing of a batch with one record, at least: https://kafka.apache.org/documentation/#recordbatch
FRAMING_BYTES = 68
# Codecs have levels, so the client may compress a record better than the estimate.
COMPRESSED_BETTER = 1.1
_key_of, _value_of = attrgetter("key"), attrgetter("value")
_headers_of, _timestamp_of = attrgetter("headers"), attrgetter("timestamp")


class Limits(msgspec.Struct, frozen=True):
    """The limits of one topic. By default there are none, because the server may not be allowed to read them."""

    min_insync_replicas: int = 1
    needs_keys: bool = False
    # Of a batch, after compression.
    max_bytes: int | None = None
    # How much older, and how much newer than now a record's timestamp may be.
    before_max_ms: int | None = None
    after_max_ms: int | None = None

    def check(self, records: Sequence[Record], codec: str) -> None:
        """Raise DeliveryFailed if a broker would reject one of the records."""
        if self.needs_keys and None in map(_key_of, records):
            raise DeliveryFailed("it has no key, and the topic is compacted", "invalid_record", False)
        if self.max_bytes is not None and _most_bytes(records) > self.max_bytes:
            for record in records:
                self._check_size(record, codec)
        if self.before_max_ms is not None or self.after_max_ms is not None:
            self._check_timestamps(list(map(_timestamp_of, records)))

    def _check_size(self, record: Record, codec: str) -> None:
        assert self.max_bytes is not None
        size = record.size + FRAMING_BYTES
        if size <= self.max_bytes:
            return
        if codec != "none":
            size = int(len(CODECS[codec].compress((record.key or b"") + (record.value or b""))) / COMPRESSED_BETTER)
        if size > self.max_bytes:
            raise DeliveryFailed(
                f"it takes {size} bytes or more in a batch, and the topic's max.message.bytes is {self.max_bytes}",
                "msg_size_too_large",
                False,
            )

    def _check_timestamps(self, timestamps: Sequence[int]) -> None:
        now = time.time_ns() // 1_000_000
        if self.after_max_ms is not None and max(timestamps) > now + self.after_max_ms:
            raise _wrong_time("newer", "after", self.after_max_ms)
        if self.before_max_ms is not None and min(timestamps) < now - self.before_max_ms:
            raise _wrong_time("older", "before", self.before_max_ms)


def _most_bytes(records: Sequence[Record]) -> int:
    """Return a size that no record's batch exceeds, without a Python call for each record."""
    if any(map(_headers_of, records)):
        return max(record.size for record in records) + FRAMING_BYTES
    longest = (max(map(len, filter(None, map(part, records))), default=0) for part in (_key_of, _value_of))
    return sum(longest) + FRAMING_BYTES


def _wrong_time(age: str, side: str, limit: int) -> DeliveryFailed:
    reason = f"its timestamp is {age} than the topic's message.timestamp.{side}.max.ms of {limit} allows"
    return DeliveryFailed(reason, "invalid_timestamp", False)


NO_LIMITS = Limits()


def limits_of(entries: Mapping[str, ConfigEntry]) -> Limits:
    """Return the limits in a topic's configuration."""
    keeps_timestamps = effective(entries, "message.timestamp.type") == "CreateTime"
    return Limits(
        min_insync_replicas=_number(entries, "min.insync.replicas") or 1,
        needs_keys="compact" in (effective(entries, "cleanup.policy") or "").split(","),
        max_bytes=_number(entries, "max.message.bytes"),
        before_max_ms=_number(entries, "message.timestamp.before.max.ms") if keeps_timestamps else None,
        after_max_ms=_number(entries, "message.timestamp.after.max.ms") if keeps_timestamps else None,
    )


def _number(entries: Mapping[str, ConfigEntry], name: str) -> int | None:
    value = effective(entries, name)
    # The largest long is Kafka's way to say that there is no limit.
    return None if value is None or int(value) >= 2**63 - 1 else int(value)


class TopicLimits:
    """The limits of the topics that this process writes to."""

    def __init__(self, administration: Administration) -> None:
        self._administration = administration
        self._known: dict[str, Limits] = {}
        self._read_at = time.monotonic()

    def of(self, topic: str) -> Limits:
        """Return a topic's limits. Only the first call for a topic waits for the cluster."""
        found = self._known.get(topic)
        if found is None:
            lane.leave()
            self.learn(topic)
        return self.known(topic)

    def known(self, topic: str) -> Limits:
        """Return a topic's limits, or none if it has not been written to."""
        return self._known.get(topic, NO_LIMITS)

    def learn(self, *topics: str) -> None:
        """Read the limits of topics. If the cluster does not tell, there are none until the next `refresh`."""
        try:
            described = self._administration.entries(topics, ANSWER_SECONDS, skipped=(LogRefused, TopicNotFound))
        except StorageError:
            described = {}
        for topic in topics:
            if topic in described:
                self._known[topic] = limits_of(described[topic])
            else:
                self._known.setdefault(topic, NO_LIMITS)

    def refresh(self, exists: Callable[[str], bool]) -> None:
        """Read the limits again if they may be out of date, and forget those of topics that no longer exist."""
        if time.monotonic() - self._read_at <= FRESH_SECONDS:
            return
        self._read_at = time.monotonic()
        topics = list(self._known)
        for topic in topics:
            if not exists(topic):
                self.forget(topic)
        self.learn(*filter(exists, topics))

    def forget(self, topic: str) -> None:
        """Read a topic's limits again before the next record, because they have changed."""
        self._known.pop(topic, None)
