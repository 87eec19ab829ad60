"""Store the log in memory, for tests and experiments. Nothing survives the process."""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from core.errors import StorageError
from topics.log.contract import Results
from topics.log.errors import TopicExists, TopicNotFound
from topics.log.outside_database import LogOutsideDatabase
from topics.log.records import (
    DEFAULT_CONFIG,
    PartitionInfo,
    RecordMetadata,
    StoredRecord,
    TopicConfig,
    TopicInfo,
    Write,
)
from topics.log.validation import (
    check_config,
    check_partition,
    check_replicas,
    fewer_partitions,
    resolve_offset,
    validate_topic,
    within_bytes,
)


@dataclass(slots=True)
class _Topic:
    partitions: list[list[StoredRecord]]
    config: TopicConfig


class MemoryLog(LogOutsideDatabase):
    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}
        self._lock = threading.Lock()

    def send(self, writes: Sequence[Write], seconds: float | None) -> Results:
        with self._lock:
            for write in writes:
                check_partition(write.partition, len(self._find(write.topic).partitions))
            return [_extend(self._topics[write.topic].partitions[write.partition], write) for write in writes]

    def partition_count(self, topic: str) -> int:
        return len(self._find(topic).partitions)

    def topic_names(self) -> list[str]:
        return sorted(self._topics)

    def topics(self, names: Collection[str] | None = None) -> list[TopicInfo]:
        return [self.topic(name) for name in self.topic_names() if names is None or name in names]

    def topic(self, name: str) -> TopicInfo:
        found = self._find(name)
        bounds = [PartitionInfo(number, 0, len(records)) for number, records in enumerate(found.partitions)]
        return TopicInfo(name, bounds, found.config)

    def create_topic(
        self,
        name: str,
        partitions: int,
        config: TopicConfig = DEFAULT_CONFIG,
        replication_factor: int | None = None,
    ) -> TopicInfo:
        validate_topic(name, partitions)
        check_replicas(replication_factor)
        check_config(config)
        with self._lock:
            if name in self._topics:
                raise TopicExists(name)
            self._topics[name] = _Topic([[] for _ in range(partitions)], config)
        return self.topic(name)

    def configure_topic(self, name: str, config: TopicConfig) -> TopicInfo:
        check_config(config)
        self._find(name).config = config
        return self.topic(name)

    def add_partitions(self, name: str, count: int) -> TopicInfo:
        validate_topic(name, count)
        partitions = self._find(name).partitions
        with self._lock:
            if count < len(partitions):
                raise fewer_partitions(name, len(partitions), count)
            partitions += [[] for _ in range(count - len(partitions))]
        return self.topic(name)

    def delete_topic(self, name: str) -> None:
        if self._topics.pop(name, None) is None:
            raise TopicNotFound(name)

    def read(self, topic: str, partition: int, offset: int | None, limit: int) -> list[StoredRecord]:
        partitions = self._find(topic).partitions
        check_partition(partition, len(partitions))
        records = partitions[partition]
        start = resolve_offset(offset, 0, len(records))
        return within_bytes(records[start : start + limit])

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        partitions = self._find(topic).partitions
        check_partition(partition, len(partitions))
        return next((record.offset for record in partitions[partition] if record.timestamp >= timestamp_ms), None)

    def check(self) -> None:
        pass

    def _find(self, name: str) -> _Topic:
        found = self._topics.get(name)
        if found is None:
            raise TopicNotFound(name)
        return found


def _extend(records: list[StoredRecord], write: Write) -> list[RecordMetadata | StorageError]:
    metadata: list[RecordMetadata | StorageError] = []
    for record in write.records:
        offset = len(records)
        records.append(
            StoredRecord(write.partition, offset, record.timestamp, record.key, record.value, list(record.headers))
        )
        metadata.append(RecordMetadata(write.partition, offset, record.timestamp))
    return metadata
