"""Store the log in a Kafka cluster."""

import gc
import multiprocessing.util
import os
import threading
import time
from collections.abc import Callable, Collection, Sequence

from django.conf import settings

from core.errors import OutcomeUnknown, StorageUnavailable
from topics.log.contract import (
    Results,
    Session,
    check_partition,
    resolve_offset,
    validate_topic,
    within_bytes,
)
from topics.log.errors import DeliveryFailed, NotAttempted, QueueFull, ReservedTopic, TopicNotFound
from topics.log.kafka import producers
from topics.log.kafka.administration import CALL_SECONDS, FOR_EVER, Leaderless, PartitionKey, config_of
from topics.log.kafka.cluster import Cluster, is_hidden
from topics.log.kafka.sessions import KafkaSession
from topics.log.outside_database import LogOutsideDatabase
from topics.log.records import DEFAULT_CONFIG, PartitionInfo, Record, StoredRecord, TopicConfig, TopicInfo, Write

# Brokers create and delete a topic one after another.
CHANGE_SECONDS = 10.0
# Records rejected with their batch are sent again individually, this many at a time, which takes less than this long.
ALONE_AT_ONCE = 50
ALONE_SECONDS = 0.25
# Control records and compaction leave gaps in the offsets, so the last five records may span more than five offsets.
MOST_COUNTED_BACK = 1000
MOST_STEPS_BACK = 4


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

    def send(self, topic: str, writes: Sequence[Write], seconds: float | None) -> Results:
        """Reject records for offline partitions, queue all others, and wait for all acknowledgements together."""
        most = float(settings.TAKHIN_PRODUCE_TIMEOUT)
        budget = most if seconds is None else min(seconds, most)
        deadline = time.monotonic() + budget
        cluster = self.cluster
        count = cluster.watch.partition_count(topic)
        for write in writes:
            check_partition(write.partition, count)
        cluster.breaker.admit(budget)
        offline = [write.partition for write in writes if not cluster.watch.has_leader(topic, write.partition)]
        online = [write for write in writes if write.partition not in offline]
        outcomes = self._deliver(topic, online, deadline) if online else []
        if not all(isinstance(outcome, OutcomeUnknown) for outcome in outcomes):
            cluster.breaker.succeeded()
        elif outcomes and budget == most:
            # A failure within a shorter time does not prove that the cluster is down.
            cluster.breaker.failed()
        rest = iter(outcomes)
        return [
            [_offline(topic, write.partition) if write.partition in offline else next(rest) for _ in write.records]
            for write in writes
        ]

    def _deliver(self, topic: str, writes: Sequence[Write], deadline: float) -> list[producers.DeliveryResult]:
        """Return every record's outcome, in order. Records rejected with their batch are sent again individually."""
        cluster = self.cluster
        records: list[tuple[int, Record]] = [(write.partition, record) for write in writes for record in write.records]
        codec = writes[0].codec
        delivery = cluster.producer(codec).send(topic, records, cluster.room)
        outcomes = delivery.settle(deadline)
        again = delivery.refused_with_batch()
        for start in range(0, len(again), ALONE_AT_ONCE):
            part = again[start : start + ALONE_AT_ONCE]
            for index, outcome in zip(
                part, self._alone(topic, [records[i] for i in part], codec, deadline), strict=True
            ):
                outcomes[index] = outcome
        return outcomes

    def _alone(
        self, topic: str, records: list[tuple[int, Record]], codec: str, deadline: float
    ) -> list[producers.DeliveryResult]:
        """Send each record in its own batch and return the outcomes; NotAttempted if no time is left."""
        if time.monotonic() > deadline - ALONE_SECONDS:
            return [NotAttempted("too many records before it were rejected", retriable=True)] * len(records)
        try:
            return self.cluster.producer(codec, alone=True).send(topic, records, self.cluster.room).settle(deadline)
        except QueueFull as error:
            return [error] * len(records)

    def check_records(self, records: Sequence[Record]) -> None:
        for record in records:
            if record.timestamp == 0:
                # librdkafka treats 0 as now: https://github.com/confluentinc/librdkafka/issues/1153
                raise DeliveryFailed(
                    "the Kafka client cannot write timestamp 0; the minimum is 1", "invalid_timestamp", False
                )
            if record.headers and any("\0" in name for name, _ in record.headers):
                # The client would truncate the name there.
                raise DeliveryFailed("a header name contains a null character", "invalid_record", False)

    def open_session(self, name: str, is_ours: Callable[[], bool]) -> Session:
        self._admit()
        return KafkaSession(self.cluster, name, is_ours)

    def partition_count(self, topic: str) -> int:
        return self.cluster.watch.partition_count(topic)

    def topic_names(self) -> list[str]:
        self.cluster.watch.wait_for_first()
        self._admit()
        return self.cluster.watch.names

    def topics(self, names: Collection[str] | None = None) -> list[TopicInfo]:
        found = [name for name in self.topic_names() if names is None or name in names]
        return self._describe({name: self.cluster.watch.partition_count(name) for name in found})

    def topic(self, name: str) -> TopicInfo:
        count = self.cluster.watch.partition_count(name)
        self._admit()
        (found,) = self._describe({name: count})
        return found

    def _describe(self, counts: dict[str, int]) -> list[TopicInfo]:
        bounds = self._bounds([(name, number) for name, count in counts.items() for number in range(count)])
        configs = self.cluster.administration.configs(counts)
        return [
            TopicInfo(name, [bounds[name, number] for number in range(count)], configs[name])
            for name, count in counts.items()
        ]

    def _bounds(self, places: Collection[PartitionKey]) -> dict[PartitionKey, PartitionInfo]:
        """Return the bounds of partitions. Offline partitions have unknown bounds and are not waited for."""
        watch, deadline = self.cluster.watch, time.monotonic() + CALL_SECONDS
        if not all(watch.has_leader(*place) for place in places):
            # The topic may have just been created.
            watch.refresh(1)
        while True:
            online = [place for place in places if watch.has_leader(*place)]
            try:
                found = self.cluster.administration.bounds(online)
                return {place: found.get(place) or PartitionInfo(place[1], 0, 0, False) for place in places}
            except Leaderless:
                if time.monotonic() > deadline:
                    raise
                watch.refresh(1)
                for name, _ in places:
                    watch.partition_count(name)

    def check_online(self, topic: str, partitions: Collection[int]) -> None:
        for number in partitions:
            if not self.cluster.watch.has_leader(topic, number):
                raise _offline(topic, number)

    def create_topic(self, name: str, partitions: int, config: TopicConfig = DEFAULT_CONFIG) -> TopicInfo:
        """Create a topic. Unset retention and the number of replicas (KIP-464) default to the cluster's."""
        validate_topic(name, partitions)
        if is_hidden(name):
            raise ReservedTopic(name)
        self._admit()
        given = {key: value for key, value in config_of(config).items() if value != FOR_EVER}
        self.cluster.administration.create(name, partitions, -1, given)
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
        before = config_of(current.config)
        changed = {key: value for key, value in config_of(config).items() if value != before[key]}
        if changed:
            self.cluster.administration.configure(name, changed)
        return self.topic(name)

    def delete_topic(self, name: str) -> None:
        self.partition_count(name)
        self._admit()
        self.cluster.administration.delete(name)
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
        check_partition(partition, self.partition_count(topic))
        self._admit()
        self.check_online(topic, [partition])
        bounds = self.cluster.administration.bounds_of(topic, partition)
        first, end = bounds.first_offset, bounds.high_watermark
        start = resolve_offset(offset, first, end)
        if start >= end:
            return []
        if offset is None or not -MOST_COUNTED_BACK <= offset < 0:
            return self.cluster.reader.read(topic, partition, start, end, limit)
        wanted = -offset
        for _ in range(MOST_STEPS_BACK):
            found = self.cluster.reader.read(topic, partition, start, end, wanted + MOST_COUNTED_BACK)
            if len(found) >= wanted or start == first:
                break
            start = max(first, start - 4 * (wanted - len(found)))
        return within_bytes(found[-wanted:][:limit])

    def check(self) -> None:
        self.cluster.watch.wait_for_first()
        self._admit()

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

    def _admit(self) -> None:
        """Raise StorageUnavailable while the breaker is open, so that no call waits for the cluster."""
        if self.cluster.breaker.is_open:
            raise StorageUnavailable("the Kafka cluster does not answer")


def _offline(topic: str, partition: int) -> StorageUnavailable:
    return StorageUnavailable(f"partition {partition} of topic {topic!r} has no leader")
