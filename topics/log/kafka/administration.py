"""Describe and change the cluster's topics with Kafka's admin protocol."""

import time
from collections.abc import Collection, Iterable
from concurrent.futures import Future
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
)

from core.errors import StorageUnavailable
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

    def delete(self, name: str) -> None:
        """Delete a topic. Raises TopicNotFound."""
        _only(self._admin.delete_topics([name], request_timeout=CALL_SECONDS), name)

    def configure(self, name: str, config: dict[str, str]) -> None:
        """Set the topic's configuration. Raises TopicNotFound, InvalidTopic."""
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in config.items()
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=entries)
        _only(self._admin.incremental_alter_configs([resource], request_timeout=CALL_SECONDS), name)

    def configs(self, names: Iterable[str]) -> dict[str, TopicConfig]:
        """Return the topics' retention, or the default if the server may not read a topic's configuration."""
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        if not resources:
            return {}
        found = {}
        for resource, future in self._admin.describe_configs(resources, request_timeout=CALL_SECONDS).items():
            try:
                found[resource.name] = _config(_result(future, resource.name))
            except LogRefused:
                found[resource.name] = DEFAULT_CONFIG
        return found

    def bounds(self, places: Collection[PartitionKey]) -> dict[PartitionKey, PartitionInfo]:
        """Return the first offset and high watermark of each partition. Raises TopicNotFound, Leaderless."""
        asked = [TopicPartition(*place) for place in places]
        first, end = (
            self._offsets_now(asked, spec, seconds=LEADER_SECONDS)
            for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
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


def _config(entries: dict[str, ConfigEntry]) -> TopicConfig:
    def limit(name: str) -> int | None:
        entry = entries.get(name)
        return None if entry is None or entry.value in (None, FOR_EVER) else int(entry.value)

    return TopicConfig(limit("retention.ms"), limit("retention.bytes"))


def config_of(config: TopicConfig) -> dict[str, str]:
    """Return a topic's configuration as Kafka's properties: https://kafka.apache.org/documentation/#topicconfigs"""
    limits = {"retention.ms": config.retention_ms, "retention.bytes": config.retention_bytes}
    return {name: FOR_EVER if limit is None else str(limit) for name, limit in limits.items()}
