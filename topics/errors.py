"""What can go wrong in the log.

LogError
├── TopicNotFound
├── TopicExists
├── InvalidTopic
├── UnknownPartition
├── OffsetOutOfRange
└── LogUnavailable
    └── StorageFull
"""


class LogError(Exception):
    """Base of every error a log raises; `code` is stable, `retriable` says whether the same call may succeed later."""

    code = "log_error"
    retriable = False


class TopicNotFound(LogError):
    code = "topic_not_found"

    def __init__(self, topic: str) -> None:
        super().__init__(f"there is no topic named {topic!r}")


class TopicExists(LogError):
    code = "topic_exists"

    def __init__(self, topic: str) -> None:
        super().__init__(f"a topic named {topic!r} exists")


class InvalidTopic(LogError):
    code = "invalid_topic"


class UnknownPartition(LogError):
    code = "unknown_partition"

    def __init__(self, partition: int, count: int) -> None:
        last = f"0 to {count - 1}" if count > 1 else "0 alone"
        super().__init__(f"partition {partition} does not exist: the topic has {last}")


class OffsetOutOfRange(LogError):
    code = "offset_out_of_range"

    def __init__(self, offset: int, first: int) -> None:
        super().__init__(f"offset {offset} is no longer kept: the first kept offset is {first}")
        self.first = first


class LogUnavailable(LogError):
    """The log could not write or read now. Nothing was written."""

    code = "log_unavailable"
    retriable = True


class StorageFull(LogUnavailable):
    code = "storage_full"
