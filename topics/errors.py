"""Errors that a log raises.

LogError
├── TopicNotFound
│   └── ReservedTopic
├── TopicExists
├── InvalidTopic
├── UnknownPartition
├── OffsetOutOfRange
├── CorruptRecord
├── LogRefused
├── LogUnavailable
│   ├── StorageFull
│   ├── StorageReadOnly
│   ├── StorageDamaged
│   └── QueueFull
├── DeliveryFailed            of one record
├── NotAttempted              of one record
└── OutcomeUnknown            of one record, or of a session's append
"""


class LogError(Exception):
    """Base class of all log errors. `code` is stable; `retriable` tells whether the same call may succeed later."""

    code = "log_error"
    retriable = False


class TopicNotFound(LogError):
    code = "topic_not_found"

    def __init__(self, topic: str) -> None:
        super().__init__(f"there is no topic named {topic!r}")


class ReservedTopic(TopicNotFound):
    """The topic name is reserved for the cluster, a schema registry or the gateway, whether the topic exists or not."""

    code = "reserved_topic"

    def __init__(self, topic: str) -> None:
        LogError.__init__(self, f"topic {topic!r} is reserved: it cannot be written, read or changed here")


class TopicExists(LogError):
    code = "topic_exists"

    def __init__(self, topic: str) -> None:
        super().__init__(f"topic {topic!r} already exists")


class InvalidTopic(LogError):
    code = "invalid_topic"


class UnknownPartition(LogError):
    code = "unknown_partition"

    def __init__(self, partition: int, count: int) -> None:
        last = f"partitions 0 to {count - 1}" if count > 1 else "only partition 0"
        super().__init__(f"partition {partition} does not exist: the topic has {last}")


class OffsetOutOfRange(LogError):
    code = "offset_out_of_range"

    def __init__(self, offset: int, first: int) -> None:
        super().__init__(f"offset {offset} is no longer kept: the first kept offset is {first}")
        self.first = first


class CorruptRecord(LogError):
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


class LogRefused(LogError):
    """The log rejects this call. The gateway's credentials or configuration must change first."""

    code = "log_refused"


class LogUnavailable(LogError):
    """The log cannot be read or written now. Nothing was written."""

    code = "log_unavailable"
    retriable = True


class StorageFull(LogUnavailable):
    code = "storage_full"


class StorageReadOnly(LogUnavailable):
    code = "storage_read_only"


class StorageDamaged(LogUnavailable):
    """The database is damaged and cannot read or write the requested data."""

    code = "storage_damaged"


class QueueFull(LogUnavailable):
    """Too many records are waiting to be sent."""

    code = "queue_full"


class DeliveryFailed(LogError):
    """One record was definitely not written; `code` is Kafka's name for the reason."""

    code = "delivery_failed"

    def __init__(self, reason: str, code: str, retriable: bool) -> None:
        super().__init__(reason)
        self.code = code
        self.retriable = retriable


class NotAttempted(LogError):
    """This record is valid, but others in its request failed."""

    code = "not_attempted"

    def __init__(self, reason: str = "another record failed, and strict=true", retriable: bool = False) -> None:
        super().__init__(f"not attempted: {reason}")
        self.retriable = retriable


class OutcomeUnknown(LogError):
    """It is unknown whether the record was written: no acknowledgement arrived in time."""

    code = "outcome_unknown"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason}: it may have been written, so sending it again may write it twice; "
            "only async requests resolve this automatically"
        )
