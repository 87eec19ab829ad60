"""Watch the cluster's topics and availability in the background, so that requests need not ask."""

import threading
import time
from collections.abc import Callable

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata

from core import lane
from core.errors import StorageUnavailable
from topics.log.errors import ReservedTopic, TopicNotFound
from topics.log.kafka import errors
from topics.log.kafka.breaker import Breaker

log = structlog.get_logger("takhin.kafka")
# A topic created elsewhere is seen within 5 seconds.
EVERY_SECONDS = 3.0
ANSWER_SECONDS = 2.0
# The interval after a failed probe.
AGAIN_SECONDS = 1.0
# An unknown topic triggers a refresh, but not more often than this.
FRESH_SECONDS = 0.5
# A single failed probe may have gone to the only broker that hangs.
MOST_UNANSWERED = 2


class Watch:
    """Reads the cluster's metadata every few seconds. The thread stops with the process or by `close`."""

    def __init__(self, admin: AdminClient, breaker: Breaker, is_hidden: Callable[[str], bool]) -> None:
        self._admin = admin
        self._breaker = breaker
        self._is_hidden = is_hidden
        self._counts: dict[str, int] = {}
        self._leaderless: set[tuple[str, int]] = set()
        self._read_at: float | None = None
        self._unanswered = MOST_UNANSWERED
        self._is_busy = False
        self._wanted = threading.Event()
        self._changed = threading.Condition()
        self._rounds = 0
        self._stopping = False
        self.broker_count = 0
        self._thread = threading.Thread(target=self._loop, name="takhin-kafka-watch", daemon=True)
        self._thread.start()

    def partition_count(self, topic: str) -> int:
        """Return the topic's number of partitions.

        Raises TopicNotFound, ReservedTopic, and StorageUnavailable if the topic is unknown and the cluster does not
        answer.
        """
        if self._is_hidden(topic):
            raise ReservedTopic(topic)
        count = self._counts.get(topic)
        if count is not None:
            return count
        if self._read_at is None or (self.answers and time.monotonic() - self._read_at > FRESH_SECONDS):
            self.refresh(ANSWER_SECONDS)
        count = self._counts.get(topic)
        if count is not None:
            return count
        if not self.answers:
            raise StorageUnavailable("the Kafka cluster does not answer, and this topic was not known before")
        raise TopicNotFound(topic)

    @property
    def answers(self) -> bool:
        """Whether the cluster has answered recently."""
        return self._unanswered < MOST_UNANSWERED

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

    def count_of_hidden(self, topic: str) -> int | None:
        """Return the number of partitions of one of the server's own topics, or None."""
        self.wait_for_first()
        return self._counts.get(topic)

    def wait_for_first(self) -> None:
        """Wait until the cluster has been queried once."""
        if self._rounds == 0:
            self.refresh(ANSWER_SECONDS + 1)

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
        self._thread.join(ANSWER_SECONDS + 1)

    def wake(self) -> None:
        """Refresh immediately, because a client reports that all brokers are down."""
        self._wanted.set()

    def _loop(self) -> None:
        while not self._stopping:
            with self._changed:
                self._is_busy = True
            self._look()
            with self._changed:
                self._is_busy = False
                self._rounds += 1
                self._changed.notify_all()
            self._rest(AGAIN_SECONDS if self._unanswered else EVERY_SECONDS)

    def _rest(self, seconds: float) -> None:
        """Wait, and serve the client's callbacks and log messages meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._wanted.wait(0.1):
            self._admin.poll(0)
        self._wanted.clear()

    def _look(self) -> None:
        try:
            metadata: ClusterMetadata = self._admin.list_topics(timeout=ANSWER_SECONDS)
        except KafkaException as error:
            self._unanswered += 1
            if not self.answers:
                self._breaker.unreachable()
            if self._unanswered in (MOST_UNANSWERED, MOST_UNANSWERED + 1):
                log.warning("the Kafka cluster does not answer", error=errors.kafka_error(error).str())
            return
        if not self.answers:
            log.info("the Kafka cluster answers", brokers=len(metadata.brokers), topics=len(metadata.topics))
        self._counts = {
            name: len(topic.partitions)
            for name, topic in metadata.topics.items()
            # A topic that is being created briefly has partitions without a leader.
            if topic.error is None and topic.partitions
        }
        self._leaderless = {
            (name, number)
            for name, topic in metadata.topics.items()
            for number, partition in topic.partitions.items()
            if partition.leader < 0
        }
        self.broker_count = len(metadata.brokers)
        self._unanswered = 0
        self._read_at = time.monotonic()
        self._breaker.reachable()
