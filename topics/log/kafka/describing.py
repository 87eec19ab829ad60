"""Describe topics of a Kafka cluster: the bounds and replicas of their partitions, and their configs."""

import time
from collections.abc import Collection

from topics.log.kafka.administration import CALL_SECONDS, Leaderless, PartitionKey
from topics.log.kafka.cluster import Cluster
from topics.log.records import PartitionInfo, TopicInfo


def describe(cluster: Cluster, counts: dict[str, int]) -> list[TopicInfo]:
    """Return these topics, which are given by name with their numbers of partitions.

    Raises TopicNotFound if one was deleted meanwhile, StorageUnavailable, and LogRefused.
    """
    bounds = _bounds(cluster, [(name, number) for name, count in counts.items() for number in range(count)])
    configs = cluster.administration.configs(counts)
    return [
        TopicInfo(name, [bounds[name, number] for number in range(count)], configs[name])
        for name, count in counts.items()
    ]


def _bounds(cluster: Cluster, places: Collection[PartitionKey]) -> dict[PartitionKey, PartitionInfo]:
    """Return the bounds of partitions. Offline partitions have unknown bounds and are not waited for."""
    watch, deadline = cluster.watch, time.monotonic() + CALL_SECONDS
    if not all(watch.has_leader(*place) for place in places):
        # The topic may have just been created.
        watch.refresh(1)
    while True:
        online = [place for place in places if watch.has_leader(*place)]
        try:
            found = cluster.administration.bounds(online)
            return {place: _with_replicas(cluster, place, found.get(place)) for place in places}
        except Leaderless:
            if time.monotonic() > deadline:
                raise
            watch.refresh(1)
            for name, _ in places:
                watch.partition_count(name)


def _with_replicas(cluster: Cluster, place: PartitionKey, bounds: PartitionInfo | None) -> PartitionInfo:
    """Return the partition's bounds and replicas; without bounds it is offline."""
    found = cluster.watch.partition(*place)
    return PartitionInfo(
        place[1],
        0 if bounds is None else bounds.first_offset,
        0 if bounds is None else bounds.high_watermark,
        bounds is not None,
        None if found is None or found.leader < 0 else found.leader,
        () if found is None else tuple(found.replicas),
        () if found is None else tuple(found.isrs),
    )
