"""The rules that every log applies to topics, partitions and offsets."""

import re
from collections.abc import Sequence

from topics.log.errors import InvalidTopic, OffsetOutOfRange, UnknownPartition
from topics.log.records import StoredRecord, TopicConfig

# Kafka's rule: org.apache.kafka.common.internals.Topic
_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
MAX_PARTITIONS = 1000
# Limits the memory of one read, like Kafka's fetch.max.bytes. A single larger record is still returned.
MAX_READ_BYTES = 8 * 1024 * 1024


def is_topic_name(name: str) -> bool:
    """Tell whether Kafka accepts this topic name."""
    return bool(_NAME.fullmatch(name)) and name not in (".", "..")


def validate_topic(name: str, partitions: int) -> None:
    """Raise InvalidTopic unless Kafka accepts this name and the number of partitions is allowed."""
    if not is_topic_name(name):
        raise InvalidTopic(
            f"topic name {name[:260]!r} is not valid: use 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-', "
            "except '.' and '..'"
        )
    if not 1 <= partitions <= MAX_PARTITIONS:
        raise InvalidTopic(f"a topic must have 1 to {MAX_PARTITIONS} partitions, got {partitions}")


def check_replicas(wanted: int | None) -> None:
    """Raise InvalidTopic unless a log that keeps a single copy can keep so many."""
    if wanted not in (None, 1):
        raise InvalidTopic(f"replicationFactor: this log keeps one copy of each record, not {wanted}")


def check_config(config: TopicConfig) -> None:
    """Raise InvalidTopic if the configuration has properties that only a Kafka cluster has."""
    if config.others:
        raise InvalidTopic(f"configs.{min(config.others)[:60]}: this log has only retention.ms and retention.bytes")


def fewer_partitions(topic: str, before: int, wanted: int) -> InvalidTopic:
    return InvalidTopic(f"partitions: topic {topic!r} has {before} and cannot have fewer, got {wanted}")


def check_partition(number: int, count: int) -> None:
    """Raise UnknownPartition unless the topic has this partition."""
    if not 0 <= number < count:
        raise UnknownPartition(number, count)


def resolve_offset(offset: int | None, first: int, end: int) -> int:
    """Resolve an offset as passed to `Log.read` to the offset to start at. Raises OffsetOutOfRange."""
    if offset is None:
        return first
    if offset < 0:
        return max(first, end + offset)
    if offset < first:
        raise OffsetOutOfRange(offset, first)
    return offset


def within_bytes(records: Sequence[StoredRecord]) -> list[StoredRecord]:
    """Return the leading records that fit in MAX_READ_BYTES, but at least the first."""
    kept: list[StoredRecord] = []
    room = MAX_READ_BYTES
    for record in records:
        room -= len(record.key or b"") + len(record.value or b"")
        if kept and room < 0:
            break
        kept.append(record)
    return kept
