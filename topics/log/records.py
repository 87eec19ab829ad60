"""The immutable values that go in and out of a log. Keys and values are bytes."""

import msgspec

Header = tuple[str, bytes | None]


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record to append. A `None` key or value is null; a null value is a tombstone.

    `timestamp` is milliseconds since the epoch (Kafka's CreateTime).
    """

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: list[Header] = []

    @property
    def size(self) -> int:
        """The size of key, value and headers in bytes, before framing and compression."""
        size = len(self.key or b"") + len(self.value or b"")
        if not self.headers:
            return size
        for name, value in self.headers:
            size += len(name.encode()) + len(value or b"")
        return size


class StoredRecord(msgspec.Struct, frozen=True, gc=False):
    """One record as read back from a partition."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[Header]


class RecordMetadata(msgspec.Struct, frozen=True, gc=False):
    """Where a record was written; `timestamp` is in milliseconds."""

    partition: int
    offset: int
    timestamp: int


class Write(msgspec.Struct, frozen=True):
    """The records of one request for one partition, written as one batch with one codec."""

    partition: int
    records: list[Record]
    codec: str = "none"


class PartitionInfo(msgspec.Struct, frozen=True):
    """A partition's bounds: the first kept offset and the next offset to be written (the high watermark).

    Both are 0 and meaningless while the partition is offline, that is, has no leader.
    """

    id: int
    first_offset: int
    high_watermark: int
    is_online: bool = True

    @property
    def kept(self) -> int:
        """The number of offsets kept, which is the number of records if offsets have no gaps."""
        return self.high_watermark - self.first_offset


class TopicConfig(msgspec.Struct, frozen=True):
    """How long a topic keeps records; `None` means forever."""

    retention_ms: int | None = None
    retention_bytes: int | None = None


DEFAULT_CONFIG = TopicConfig()


class TopicInfo(msgspec.Struct, frozen=True):
    """A topic, its partitions in order, and its configuration."""

    name: str
    partitions: list[PartitionInfo]
    config: TopicConfig = DEFAULT_CONFIG
