"""The metrics of this process's connection to the cluster."""

from collections.abc import Iterator

from core.metrics import Observed
from topics.log.kafka import properties
from topics.log.kafka.cluster import Cluster


def observe(cluster: Cluster) -> Iterator[Observed]:
    yield Observed(
        "takhin_kafka_breaker_open",
        "Whether the server has given the cluster up.",
        (),
        [((), float(cluster.breaker.is_open))],
    )
    yield Observed(
        "takhin_kafka_partition_breakers_open",
        "Partitions that are left alone because they do not acknowledge records.",
        (),
        [((), cluster.partitions.open_count + cluster.transactional.open_count)],
    )
    records, size = cluster.room.left
    yield Observed(
        "takhin_kafka_queue_records",
        "Records in flight to the cluster.",
        (),
        [((), properties.queue_records() - records)],
    )
    yield Observed("takhin_kafka_queue_bytes", "Their bytes.", (), [((), properties.queue_bytes() - size)])
    yield from _latency(cluster)


def _latency(cluster: Cluster) -> Iterator[Observed]:
    """The worst latency of each broker among the producers of all codecs."""
    worst: dict[tuple[str, str], float] = {}
    for producer in cluster.producers.values():
        for broker in producer.statistics.last.brokers.values():
            if broker.nodeid >= 0:
                for name, microseconds in (("avg", broker.rtt.avg), ("p99", broker.rtt.p99)):
                    place = str(broker.nodeid), name
                    worst[place] = max(worst.get(place, 0.0), microseconds / 1e6)
    yield Observed(
        "takhin_kafka_broker_latency_seconds",
        "Round trip time of requests to a broker in the last ten seconds.",
        ("broker", "window"),
        sorted(worst.items()),
    )
