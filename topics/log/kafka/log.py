"""Store the log in a Kafka cluster."""

import gc
import multiprocessing.util
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from operator import attrgetter

from confluent_kafka import libversion, version

from core.errors import StorageUnavailable
from core.metrics import Observed
from topics.log.contract import Results, Session
from topics.log.errors import DeliveryFailed, ReservedTopic, TopicNotFound
from topics.log.kafka.administration import FOR_EVER, config_of
from topics.log.kafka.cluster import Cluster, is_hidden
from topics.log.kafka.describing import describe
from topics.log.kafka.observation import observe
from topics.log.kafka.sending import Sender
from topics.log.kafka.sessions import KafkaSession
from topics.log.outside_database import LogOutsideDatabase
from topics.log.records import (
    DEFAULT_CONFIG,
    Broker,
    ClusterInfo,
    Record,
    StoredRecord,
    TopicConfig,
    TopicInfo,
    Write,
)
from topics.log.validation import check_partition, fewer_partitions, resolve_offset, validate_topic

# Brokers create and delete a topic one after another.
CHANGE_SECONDS = 10.0
# Control records and compaction leave gaps in the offsets, so the last five records may span more than five offsets.
MOST_COUNTED_BACK = 1000


_headers_of, _timestamp_of = attrgetter("headers"), attrgetter("timestamp")


class KafkaLog(LogOutsideDatabase):
    fits_lane = True
    supports_sessions = True

    def __init__(self) -> None:
        self._opening = threading.Lock()
        self._opened: Cluster | None = None
        self._pid = os.getpid()
        # A child process keeps its parent's clients but never closes them, because their threads do not exist in it.
        self._inherited: list[Cluster | None] = []
        self._at_exit: Callable[[], object] = lambda: None

    @property
    def cluster(self) -> Cluster:
        """This process's clients, created on first use."""
        if self._opened is None or self._pid != os.getpid():
            with self._opening:
                if self._opened is None or self._pid != os.getpid():
                    self._inherited.append(self._opened)
                    self._pid, self._opened = os.getpid(), Cluster()
                    # Not atexit: worker processes forked by multiprocessing do not run its handlers.
                    self._at_exit = multiprocessing.util.Finalize(None, self._opened.close, exitpriority=10)
        return self._opened

    def send(self, writes: Sequence[Write], seconds: float | None) -> Results:
        return Sender(self.cluster).send(writes, seconds)

    def check_records(self, topic: str, records: Sequence[Record], codec: str) -> None:
        # librdkafka treats 0 as now: https://github.com/confluentinc/librdkafka/issues/1153
        if 0 in map(_timestamp_of, records):
            raise DeliveryFailed(
                "the Kafka client cannot write timestamp 0; the minimum is 1", "invalid_timestamp", False
            )
        # The client would truncate the name there.
        if any("\0" in name for headers in filter(None, map(_headers_of, records)) for name, _ in headers):
            raise DeliveryFailed("a header name contains a null character", "invalid_record", False)
        if not self.cluster.breaker.is_open:
            self.cluster.limits.of(topic).check(records, codec)

    def open_session(self, name: str, is_ours: Callable[[], bool]) -> Session:
        self.check()
        return KafkaSession(self.cluster, name, is_ours)

    def partition_count(self, topic: str) -> int:
        return self.cluster.watch.partition_count(topic)

    def topic_names(self) -> list[str]:
        self.cluster.watch.wait_for_first()
        self.cluster.admit()
        return self.cluster.watch.names

    def topics(self, names: Collection[str] | None = None) -> list[TopicInfo]:
        found = [name for name in self.topic_names() if names is None or name in names]
        return describe(self.cluster, {name: self.cluster.watch.partition_count(name) for name in found})

    def topic(self, name: str) -> TopicInfo:
        count = self.cluster.watch.partition_count(name)
        self.cluster.admit()
        (found,) = describe(self.cluster, {name: count})
        return found

    def check_writable(self, writes: Sequence[Write]) -> None:
        for write in writes:
            if (error := self.cluster.unwritable((write.topic, write.partition))) is not None:
                raise error

    def create_topic(
        self,
        name: str,
        partitions: int,
        config: TopicConfig = DEFAULT_CONFIG,
        replication_factor: int | None = None,
    ) -> TopicInfo:
        """Create a topic. Unset retention and the number of replicas (KIP-464) default to the cluster's."""
        validate_topic(name, partitions)
        if is_hidden(name):
            raise ReservedTopic(name)
        self.cluster.admit()
        given = {key: value for key, value in config_of(config).items() if value != FOR_EVER}
        self.cluster.administration.create(name, partitions, replication_factor or -1, given)
        deadline = time.monotonic() + CHANGE_SECONDS
        self._wait_until(lambda: self.cluster.watch.is_complete(name, partitions), f"topic {name!r} was created")
        while True:
            try:
                return self.topic(name)
            except TopicNotFound:
                # One broker knows the topic, and another does not know it yet.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def configure_topic(self, name: str, config: TopicConfig) -> TopicInfo:
        current = self.topic(name)
        before, after = config_of(current.config), config_of(config)
        changed = {key: after.get(key) for key in before | after if after.get(key) != before.get(key)}
        if changed:
            self.cluster.administration.configure(name, changed)
            self.cluster.limits.forget(name)
        return self.topic(name)

    def add_partitions(self, name: str, count: int) -> TopicInfo:
        validate_topic(name, count)
        before = self.partition_count(name)
        if count < before:
            raise fewer_partitions(name, before, count)
        if count > before:
            self.cluster.admit()
            self.cluster.administration.add_partitions(name, count)
            self._wait_until(
                lambda: self.cluster.watch.is_complete(name, count), f"topic {name!r} has {count} partitions"
            )
        return self.topic(name)

    def cluster_info(self) -> ClusterInfo:
        self.check()
        metadata = self.cluster.watch.metadata
        return ClusterInfo(
            metadata.cluster_id,
            [Broker(broker.id, broker.host, broker.port) for _, broker in sorted(metadata.brokers.items())],
            metadata.controller_id if metadata.controller_id >= 0 else None,
            {"librdkafka": libversion()[0], "confluent-kafka": version()},
        )

    def delete_topic(self, name: str) -> None:
        self.partition_count(name)
        self.cluster.admit()
        self.cluster.administration.delete(name)
        self.cluster.limits.forget(name)
        self._wait_until(lambda: not self.cluster.watch.knows(name), f"topic {name!r} was deleted")

    def _wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + CHANGE_SECONDS
        while True:
            self.cluster.watch.refresh(CHANGE_SECONDS)
            if is_so():
                return
            if time.monotonic() > deadline:
                raise StorageUnavailable(f"{what}, but the Kafka cluster does not show it yet")
            time.sleep(0.05)

    def read(self, topic: str, partition: int, offset: int | None, limit: int) -> list[StoredRecord]:
        self._check_readable(topic, partition)
        bounds = self.cluster.administration.bounds_of(topic, partition)
        first, end = bounds.first_offset, bounds.high_watermark
        start = resolve_offset(offset, first, end)
        if start >= end:
            return []
        if offset is not None and -MOST_COUNTED_BACK <= offset < 0:
            start = self.cluster.reader.count_back(topic, partition, first, end, -offset)
        return self.cluster.reader.read(topic, partition, start, end, limit)

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        self._check_readable(topic, partition)
        return self.cluster.reader.offset_at(topic, partition, timestamp_ms)

    def _check_readable(self, topic: str, partition: int) -> None:
        """Raise StorageUnavailable if the partition has no leader, TopicNotFound or UnknownPartition."""
        check_partition(partition, self.partition_count(topic))
        self.cluster.admit()
        if not self.cluster.watch.has_leader(topic, partition):
            raise StorageUnavailable(f"partition {partition} of topic {topic!r} has no leader")

    def check(self) -> None:
        self.cluster.watch.wait_for_first()
        self.cluster.admit()

    def observe(self) -> Iterator[Observed]:
        return observe(self.cluster)

    def warm(self) -> None:
        self.cluster.warm()

    def close(self) -> None:
        if self._opened is not None and self._pid == os.getpid():
            # Close the clients now; the finalizer will not run again at exit.
            self._at_exit()
            self._opened = None
            # The clients and their callbacks form reference cycles. If a fork inherited this garbage, the child would
            # collect it at some point, and wait forever for threads that it does not have.
            gc.collect()
