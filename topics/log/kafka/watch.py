"""Watch the cluster's topics and availability in the background, so that requests need not ask."""

import threading
import time
from collections.abc import Callable

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata, PartitionMetadata

from core import lane
from core.errors import StorageError, StorageUnavailable
from topics.log.errors import LogRefused, ReservedTopic
from topics.log.kafka import errors
from topics.log.kafka.administration import PartitionKey
from topics.log.kafka.breaker import Breaker
from topics.log.kafka.known_topics import KnownTopics
from topics.log.kafka.missing_topics import MissingTopics
from topics.log.kafka.refusal import Refusal
from topics.log.kafka.topic_limits import TopicLimits

log = structlog.get_logger("takhin.kafka")
# A topic created elsewhere is seen within 5 seconds.
EVERY_SECONDS = 3.0
# A probe asks twice, because the client tells why it cannot connect only between calls.
ANSWER_SECONDS = (0.8, 1.2)
# The interval after a failed probe.
AGAIN_SECONDS = 1.0
# An unknown topic, or a record that is not acknowledged, triggers a refresh, but not more often than this.
FRESH_SECONDS = 0.5
# A single failed probe may have gone to the only broker that hangs.
MOST_UNANSWERED = 2


class Watch:
    """Reads the cluster's metadata every few seconds. The thread stops with the process or by `close`."""

    def __init__(
        self,
        admin: AdminClient,
        refusal: Refusal,
        breaker: Breaker,
        limits: TopicLimits,
        known_topics: KnownTopics,
        is_hidden: Callable[[str], bool],
    ) -> None:
        self._admin = admin
        self._refusal = refusal
        self._breaker = breaker
        self._limits = limits
        self._known_topics = known_topics
        self._is_hidden = is_hidden
        self._counts: dict[str, int] = {}
        self._leaderless: set[PartitionKey] = set()
        # The number of in-sync replicas, of partitions that lack some.
        self._in_sync: dict[PartitionKey, int] = {}
        self._missing = MissingTopics()
        self._read_at = 0.0
        self._unanswered = MOST_UNANSWERED
        self._is_busy = False
        self._wanted = threading.Event()
        self._changed = threading.Condition()
        self._rounds = 0
        self._stopping = False
        self.metadata = ClusterMetadata()
        self._thread = threading.Thread(target=self._loop, name="takhin-kafka-watch", daemon=True)
        self._thread.start()

    def partition_count(self, topic: str) -> int:
        """Return the topic's number of partitions.

        Raises TopicNotFound, ReservedTopic, and, if the topic is unknown and the cluster does not answer,
        StorageUnavailable or LogRefused.
        """
        if self._is_hidden(topic):
            raise ReservedTopic(topic)
        count = self._counts.get(topic)
        if count is not None:
            return count
        if self.answers and time.monotonic() - self._read_at > FRESH_SECONDS:
            self.refresh(sum(ANSWER_SECONDS))
        self.wait_for_first()
        count = self._counts.get(topic)
        if count is not None:
            return count
        if not self.answers:
            raise self.trouble()
        raise self._missing.error(topic)

    @property
    def answers(self) -> bool:
        """Whether the cluster has answered recently."""
        return self._unanswered < MOST_UNANSWERED

    def trouble(self) -> StorageError:
        """Return why the cluster does not answer."""
        reason = self._refusal.reason
        return LogRefused(reason) if reason else StorageUnavailable("the Kafka cluster does not answer")

    @property
    def names(self) -> list[str]:
        return sorted(name for name in self._counts if not self._is_hidden(name))

    def knows(self, topic: str) -> bool:
        return topic in self._counts

    def is_complete(self, topic: str, partitions: int) -> bool:
        """Tell whether the topic exists with all its partitions, and each has a leader."""
        has_all = self._counts.get(topic, 0) >= partitions
        return has_all and all(self.has_leader(topic, number) for number in range(partitions))

    def has_leader(self, topic: str, partition: int) -> bool:
        """Tell whether the partition has a leader, according to the latest metadata."""
        return (topic, partition) not in self._leaderless

    def partition(self, topic: str, partition: int) -> PartitionMetadata | None:
        """Return the latest metadata of a partition."""
        found = self.metadata.topics.get(topic)
        return None if found is None else found.partitions.get(partition)

    def unwritable(self, place: PartitionKey) -> StorageUnavailable | None:
        """Return why the partition accepts no records, according to the latest metadata, or None. Cheap."""
        topic, number = place
        if place in self._leaderless:
            return StorageUnavailable(f"partition {number} of topic {topic!r} has no leader")
        in_sync = self._in_sync.get(place)
        if in_sync is None:
            return None
        needed = self._limits.known(topic).min_insync_replicas
        if in_sync >= needed:
            return None
        return StorageUnavailable(
            f"partition {number} of topic {topic!r} has too few in-sync replicas: {in_sync}, and "
            f"min.insync.replicas is {needed}"
        )

    def count_of_hidden(self, topic: str) -> int | None:
        """Return the number of partitions of one of the server's own topics, or None."""
        self.wait_for_first()
        return self._counts.get(topic)

    def wait_for_first(self) -> None:
        """Wait until the cluster has been queried once."""
        if self._rounds == 0:
            self.refresh(sum(ANSWER_SECONDS) + 1)

    def refresh(self, seconds: float) -> None:
        """Wait for metadata requested from now on, for at most `seconds`."""
        lane.leave()
        with self._changed:
            # The current round may already have been answered.
            after = self._rounds + 1 if self._is_busy else self._rounds
            self._wanted.set()
            self._changed.wait_for(lambda: self._rounds > after or self._stopping, seconds)

    def close(self) -> None:
        self._stopping = True
        self._wanted.set()
        self._thread.join(sum(ANSWER_SECONDS) + 1)

    def wake(self) -> None:
        """Refresh soon, because records are not acknowledged or all brokers seem down."""
        if time.monotonic() - self._read_at > FRESH_SECONDS:
            self._wanted.set()

    def _loop(self) -> None:
        while not self._stopping:
            with self._changed:
                self._is_busy = True
            _guarded(self._look)
            with self._changed:
                self._is_busy = False
                self._rounds += 1
                self._changed.notify_all()
            if self.answers:
                _guarded(lambda: self._limits.refresh(self.knows))
            self._rest(AGAIN_SECONDS if self._unanswered else EVERY_SECONDS)

    def _rest(self, seconds: float) -> None:
        """Wait, and serve the client's callbacks and log messages meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._wanted.wait(0.1):
            self._admin.poll(0)
        self._wanted.clear()

    def _look(self) -> None:
        try:
            metadata = self._ask()
        except KafkaException as error:
            self._has_not_answered(errors.kafka_error(error))
        else:
            self._learn(metadata)

    def _ask(self) -> ClusterMetadata:
        try:
            return self._admin.list_topics(timeout=ANSWER_SECONDS[0])
        except KafkaException:
            self._admin.poll(0)
            if self._refusal.reason:
                raise
        try:
            return self._admin.list_topics(timeout=ANSWER_SECONDS[1])
        finally:
            self._admin.poll(0)

    def _has_not_answered(self, error: KafkaError) -> None:
        self._unanswered += 1
        if not self.answers:
            self._breaker.unreachable()
        if self._rounds == 0:
            # Accept async requests all the same.
            self._counts = self._known_topics.load()
        if self._unanswered in (MOST_UNANSWERED, MOST_UNANSWERED + 1):
            log.warning("cluster_unavailable", error=self._refusal.reason or error.str())

    def _learn(self, metadata: ClusterMetadata) -> None:
        if not self.answers:
            log.info("cluster_answers", brokers=len(metadata.brokers), topics=len(metadata.topics))
        counts = {
            name: len(topic.partitions)
            for name, topic in metadata.topics.items()
            # A topic that is being created briefly has partitions without a leader.
            if topic.error is None and topic.partitions
        }
        partitions = [
            ((name, number), partition)
            for name, topic in metadata.topics.items()
            for number, partition in topic.partitions.items()
        ]
        self._leaderless = {place for place, partition in partitions if partition.leader < 0}
        self._in_sync = {
            place: len(partition.isrs)
            for place, partition in partitions
            if len(partition.isrs) < len(partition.replicas)
        }
        now = time.monotonic()
        self._missing.learn(self._counts.keys(), counts.keys(), now)
        self.metadata = metadata
        self._counts = counts
        self._unanswered = 0
        self._refusal.clear()
        self._read_at = now
        self._breaker.reachable()
        self._known_topics.save(counts)


def _guarded(step: Callable[[], object]) -> None:
    """Run a step of the watch, and log an unexpected error: without its thread, nobody would notice an outage."""
    try:
        step()
    except Exception:
        log.exception("watch_failed")
