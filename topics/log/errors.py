"""Errors that a log raises, besides those of any storage.

StorageError
├── TopicNotFound
│   ├── ReservedTopic
│   └── TopicNotYetVisible
├── TopicExists
├── InvalidTopic
├── UnknownPartition
├── OffsetOutOfRange
├── CorruptRecord
├── LogRefused
├── StorageUnavailable
│   └── QueueFull
├── DeliveryFailed            of one record
└── NotAttempted              of one record
"""

from core.errors import StorageError, StorageUnavailable


class TopicNotFound(StorageError):
    code = "topic_not_found"

    def __init__(self, topic: str) -> None:
        super().__init__(f"there is no topic named {topic!r}")


class ReservedTopic(TopicNotFound):
    """The topic name is reserved for the cluster, a schema registry or the server, whether the topic exists or not."""

    code = "reserved_topic"

    def __init__(self, topic: str) -> None:
        StorageError.__init__(self, f"topic {topic!r} is reserved: it cannot be written, read or changed here")


class TopicNotYetVisible(TopicNotFound):
    """There is no such topic, but it may have just been created by others."""

    retriable = True


class TopicExists(StorageError):
    code = "topic_exists"

    def __init__(self, topic: str) -> None:
        super().__init__(f"topic {topic!r} already exists")


class InvalidTopic(StorageError):
    code = "invalid_topic"


class UnknownPartition(StorageError):
    code = "unknown_partition"

    def __init__(self, partition: int, count: int) -> None:
        last = f"partitions 0 to {count - 1}" if count > 1 else "only partition 0"
        super().__init__(f"partition {partition} does not exist: the topic has {last}")


class OffsetOutOfRange(StorageError):
    code = "offset_out_of_range"

    def __init__(self, offset: int, first: int) -> None:
        super().__init__(f"offset {offset} is no longer kept: the first kept offset is {first}")
        self.first = first


class CorruptRecord(StorageError):
    """Stored records are corrupt or missing. Reading can continue at `next_offset`."""

    code = "corrupt_record"

    def __init__(self, topic: str, partition: int, first: int, last: int, reason: str) -> None:
        which = f"offset {first}" if first == last else f"offsets {first} to {last}"
        super().__init__(
            f"{which} of partition {partition} of topic {topic} cannot be read: {reason}; "
            f"continue reading at offset {last + 1}"
        )
        self.next_offset = last + 1
        self.members = {"topic": topic, "partition": partition, "firstOffset": first, "lastOffset": last}


class LogRefused(StorageError):
    """The log rejects this call. The server's credentials or configuration must change first."""

    code = "log_refused"


class QueueFull(StorageUnavailable):
    """Too many records are waiting to be sent."""

    code = "queue_full"


class DeliveryFailed(StorageError):
    """One record was definitely not written; `code` is Kafka's name for the reason."""

    code = "delivery_failed"

    def __init__(self, reason: str, code: str, retriable: bool) -> None:
        super().__init__(reason)
        self.code = code
        self.retriable = retriable


ALL_OR_NOTHING = "another record failed, and the request is all or nothing"


class NotAttempted(StorageError):
    """This record is valid, but others in its request failed."""

    code = "not_attempted"

    def __init__(self, reason: str = ALL_OR_NOTHING, retriable: bool = False) -> None:
        super().__init__(f"not attempted: {reason}")
        self.retriable = retriable
