"""Describe and change the cluster's topics with Kafka's admin protocol."""

import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AclOperation,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)

from core.errors import StorageError, StorageUnavailable
from topics.log.errors import LogRefused
from topics.log.kafka import errors
from topics.log.records import DEFAULT_CONFIG, PartitionInfo, TopicConfig

CALL_SECONDS = 10.0
# The client waits for a leader even if there will be none.
LEADER_SECONDS = 3.0
# A topic and a partition number.
PartitionKey = tuple[str, int]
# Kafka's value for unlimited retention.
FOR_EVER = "-1"


class Leaderless(StorageUnavailable):
    """A partition has no leader now, or its leader has changed."""


class Administration:
    """Calls that wait for the cluster. All raise StorageUnavailable and LogRefused, and the errors they document."""

    def __init__(self, admin: AdminClient) -> None:
        self._admin = admin

    def create(self, name: str, partitions: int, replication: int, config: dict[str, str]) -> None:
        """Create a topic; `replication` -1 means the cluster's default. Raises TopicExists, InvalidTopic."""
        new = NewTopic(name, num_partitions=partitions, replication_factor=replication, config=config)
        _only(self._admin.create_topics([new], request_timeout=CALL_SECONDS), name)

    def add_partitions(self, name: str, count: int) -> None:
        """Give the topic `count` partitions. Raises TopicNotFound, InvalidTopic."""
        _only(self._admin.create_partitions([NewPartitions(name, count)], request_timeout=CALL_SECONDS), name)

    def operations(self, name: str) -> set[AclOperation] | None:
        """Return what the server may do with a topic, or None if the cluster does not tell.

        Raises TopicNotFound, and LogRefused if it may not even describe the topic.
        """
        asked = self._admin.describe_topics(
            TopicCollection([name]), include_authorized_operations=True, request_timeout=CALL_SECONDS
        )
        found = _only(asked, name).authorized_operations
        return None if found is None else set(found)

    def delete(self, name: str) -> None:
        """Delete a topic. Raises TopicNotFound."""
        _only(self._admin.delete_topics([name], request_timeout=CALL_SECONDS), name)

    def configure(self, name: str, config: Mapping[str, str | None]) -> None:
        """Set properties of the topic; None returns one to its default. Raises TopicNotFound, InvalidTopic."""
        entries = [
            ConfigEntry(
                key, value, incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
            )
            for key, value in config.items()
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
        _only(self._admin.incremental_alter_configs([resource], request_timeout=CALL_SECONDS), name)

    def entries(
        self,
        names: Collection[str],
        seconds: float = CALL_SECONDS,
        skipped: tuple[type[StorageError], ...] = (LogRefused,),
    ) -> dict[str, Mapping[str, ConfigEntry]]:
        """Return the topics' configurations, except those whose description fails with one of the `skipped` errors.

        By default, these are the topics that the server may not read the configuration of.
        """
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        if not resources:
            return {}
        found = {}
        for resource, future in self._admin.describe_configs(resources, request_timeout=seconds).items():
            try:
                found[resource.name] = _result(future, resource.name)
            except skipped:
                continue
        return found

    def configs(self, names: Collection[str]) -> dict[str, TopicConfig]:
        """Return the topics' configurations, or the default if the server may not read a topic's."""
        return dict.fromkeys(names, DEFAULT_CONFIG) | {
            name: _config(entries) for name, entries in self.entries(names).items()
        }

    def bounds(
        self, places: Collection[PartitionKey], seconds: float = LEADER_SECONDS
    ) -> dict[PartitionKey, PartitionInfo]:
        """Return the first offset and high watermark of each partition. Raises TopicNotFound, Leaderless."""
        asked = [TopicPartition(*place) for place in places]
        first, end = (
            self._offsets_now(asked, spec, seconds=seconds) for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
        )
        return {place: PartitionInfo(place[1], first[place], end[place]) for place in places}

    def bounds_of(self, topic: str, number: int) -> PartitionInfo:
        """Return the first offset and high watermark of one partition. Raises TopicNotFound."""
        place = [TopicPartition(topic, number)]
        first, end = (
            self._offsets(place, spec)[topic, number] for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
        )
        return PartitionInfo(number, first, end)

    def stable_end(self, topic: str, number: int) -> int:
        """Return the last stable offset: all transactions before it are decided."""
        place = [TopicPartition(topic, number)]
        return self._offsets(place, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)[topic, number]

    def _offsets(
        self,
        places: list[TopicPartition],
        spec: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    ) -> dict[PartitionKey, int]:
        """List offsets, retrying while a partition has no leader, because one is being elected."""
        deadline = time.monotonic() + CALL_SECONDS
        while True:
            try:
                return self._offsets_now(places, spec, isolation)
            except Leaderless:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _offsets_now(
        self,
        places: list[TopicPartition],
        spec: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
        seconds: float = CALL_SECONDS,
    ) -> dict[PartitionKey, int]:
        if not places:
            return {}
        asked = self._admin.list_offsets(
            dict.fromkeys(places, spec),
            isolation_level=isolation,
            request_timeout=seconds,
        )
        return {(place.topic, place.partition): _result(future, place.topic).offset for place, future in asked.items()}


def _only(futures: dict[Any, "Future[Any]"], topic: str) -> Any:
    (future,) = futures.values()
    return _result(future, topic)


def _result(future: "Future[Any]", topic: str) -> Any:
    try:
        return future.result(CALL_SECONDS + 1)
    except KafkaException as error:
        if errors.is_leaderless(error):
            raise Leaderless(f"a partition of topic {topic!r} has no leader") from error
        raise errors.of_call(error, topic) from error


def effective(entries: Mapping[str, ConfigEntry], name: str) -> str | None:
    """Return the value in effect, whether it is the topic's own or a default."""
    entry = entries.get(name)
    return None if entry is None else entry.value


def _config(entries: Mapping[str, ConfigEntry]) -> TopicConfig:
    def limit(name: str) -> int | None:
        value = effective(entries, name)
        return None if value in (None, FOR_EVER) else int(value)

    own = {
        name: entry.value
        for name, entry in sorted(entries.items())
        if entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value and entry.value is not None
    }
    return TopicConfig(
        limit("retention.ms"),
        limit("retention.bytes"),
        {name: value for name, value in own.items() if name not in RETENTION},
        int(effective(entries, "min.insync.replicas") or 1),
    )


# The properties that TopicConfig has fields for.
RETENTION = ("retention.ms", "retention.bytes")


def config_of(config: TopicConfig) -> dict[str, str]:
    """Return a topic's configuration as Kafka's properties: https://kafka.apache.org/documentation/#topicconfigs"""
    limits = dict(zip(RETENTION, (config.retention_ms, config.retention_bytes), strict=True))
    return {name: FOR_EVER if limit is None else str(limit) for name, limit in limits.items()} | dict(config.others)
