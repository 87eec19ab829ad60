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
    """Where a record was written; `timestamp` is in milliseconds. `topic` is set if there are several."""

    partition: int
    offset: int
    timestamp: int
    topic: str | msgspec.UnsetType = msgspec.UNSET


class Write(msgspec.Struct, frozen=True):
    """The records of one request for one partition, written as one batch with one codec."""

    topic: str
    partition: int
    records: list[Record]
    codec: str = "none"


class PartitionInfo(msgspec.Struct, frozen=True):
    """A partition's bounds: the first kept offset and the next offset to be written (the high watermark).

    Both are 0 and meaningless while the partition is offline, that is, has no leader. Brokers have numbers; a log
    without a cluster is its own broker 0.
    """

    id: int
    first_offset: int
    high_watermark: int
    is_online: bool = True
    leader: int | None = 0
    replicas: tuple[int, ...] = (0,)
    in_sync_replicas: tuple[int, ...] = (0,)

    @property
    def kept(self) -> int:
        """The number of offsets kept, which is the number of records if offsets have no gaps."""
        return self.high_watermark - self.first_offset

    @property
    def is_under_replicated(self) -> bool:
        return len(self.in_sync_replicas) < len(self.replicas)


class TopicConfig(msgspec.Struct, frozen=True):
    """How long a topic keeps records (`None` means forever), and the properties that a Kafka cluster has besides.

    `others` has properties that differ from their defaults. `min_insync_replicas` is the one in effect.
    """

    retention_ms: int | None = None
    retention_bytes: int | None = None
    others: dict[str, str] = {}
    min_insync_replicas: int = 1


DEFAULT_CONFIG = TopicConfig()


class TopicInfo(msgspec.Struct, frozen=True):
    """A topic, its partitions in order, and its configuration."""

    name: str
    partitions: list[PartitionInfo]
    config: TopicConfig = DEFAULT_CONFIG

    @property
    def replication_factor(self) -> int:
        return max(len(partition.replicas) for partition in self.partitions)

    def is_below_minimum(self, partition: PartitionInfo) -> bool:
        """Whether the partition accepts no records because too few of its replicas are in sync."""
        needed = min(self.config.min_insync_replicas, len(partition.replicas))
        return len(partition.in_sync_replicas) < needed


class Broker(msgspec.Struct, frozen=True):
    """One server of a cluster. A log without a cluster has one, without an address."""

    id: int
    host: str | None = None
    port: int | None = None


class ClusterInfo(msgspec.Struct, frozen=True):
    """The brokers that keep a log, the number of their controller, and the versions of the software."""

    id: str | None
    brokers: list[Broker]
    controller: int | None
    versions: dict[str, str]
