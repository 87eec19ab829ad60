"""One process's connection to the cluster: its clients, topic metadata and circuit breaker."""

import threading
from collections.abc import Sequence

from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient
from django.conf import settings

from core.errors import StorageError, StorageUnavailable
from topics.log.compression import CODECS
from topics.log.kafka import properties
from topics.log.kafka.administration import Administration, PartitionKey
from topics.log.kafka.breaker import Breaker, PartitionBreakers, ThreadShare
from topics.log.kafka.known_topics import KnownTopics
from topics.log.kafka.producers import KafkaProducer, Room
from topics.log.kafka.reader import Reader
from topics.log.kafka.refusal import Refusal
from topics.log.kafka.topic_limits import TopicLimits
from topics.log.kafka.watch import Watch

# The topic where sessions store their receipts; it holds no user data.
RECEIPTS = "_takhin_outcomes"
FLUSH_SECONDS = 10.0


# The topic where a schema registry stores its schemas, unless its kafkastore.topic names another one. Writing to it
# could change every subject, and reading it reveals every subject.
SCHEMAS = "_schemas"
RESERVED = ("__", "_takhin")


def is_hidden(topic: str) -> bool:
    """Tell whether a topic belongs to Kafka, a schema registry or the server, and so is not accessible."""
    return topic == SCHEMAS or topic.startswith(RESERVED)


class Cluster:
    """The clients of one process. Create it in the process that uses it: librdkafka's threads do not survive a fork."""

    def __init__(self) -> None:
        self._refusal = Refusal()
        admin = AdminClient({**properties.admin(self._refusal), "error_cb": self._failed})
        self.administration = Administration(admin)
        self.limits = TopicLimits(self.administration)
        self.breaker = Breaker()
        self.partitions = PartitionBreakers()
        # Transactions have their own, because they may fail where other records are written.
        self.transactional = PartitionBreakers()
        self.threads = ThreadShare(max(1, settings.TAKHIN_THREADS // 4))
        self.watch = Watch(admin, self._refusal, self.breaker, self.limits, KnownTopics(), is_hidden)
        self.reader = Reader()
        limits = properties.producer("none")
        self.room = Room(int(limits["queue.buffering.max.messages"]), int(limits["queue.buffering.max.kbytes"]) * 1024)
        self._producers: dict[tuple[str, bool], KafkaProducer] = {}
        self._making = threading.Lock()

    def producer(self, codec: str, alone: bool = False) -> KafkaProducer:
        """Return the producer for this codec, with one record per batch if `alone`. A dead producer is replaced."""
        found = self._producers.get((codec, alone))
        if found is not None and not found.is_dead:
            return found
        with self._making:
            found = self._producers.get((codec, alone))
            if found is None or found.is_dead:
                if found is not None:
                    threading.Thread(target=found.close, args=[FLUSH_SECONDS], daemon=True).start()
                found = self._producers[codec, alone] = KafkaProducer(properties.producer(codec, alone))
            return found

    @property
    def producers(self) -> dict[str, KafkaProducer]:
        """The producers, by codec."""
        return {codec: producer for (codec, alone), producer in list(self._producers.items()) if not alone}

    def warm(self, codecs: Sequence[str] = tuple(CODECS)) -> None:
        """Create the producers now: the first record of a new one waits half a second for a producer id."""
        for codec in codecs:
            self.producer(codec)

    def close(self) -> None:
        """Deliver queued records, within FLUSH_SECONDS, and close all clients."""
        self.watch.close()
        closing = [
            threading.Thread(target=producer.close, args=[FLUSH_SECONDS]) for producer in self._producers.values()
        ]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()
        self.reader.close()

    def trouble(self) -> StorageError:
        """Return why the cluster cannot be used now."""
        seconds = self.breaker.seconds
        found = self.watch.trouble()
        if isinstance(found, StorageUnavailable) and seconds:
            return StorageUnavailable(f"the Kafka cluster has not answered for {seconds} seconds")
        return found

    def admit(self) -> None:
        """Raise StorageUnavailable or LogRefused while the cluster does not answer."""
        if self.breaker.is_open:
            raise self.trouble()

    def unwritable(self, place: PartitionKey) -> StorageUnavailable | None:
        """Return why no transaction can write to a partition now, or None. Cheap."""
        return self.watch.unwritable(place) or self.partitions.error(place) or self.transactional.error(place)

    def _failed(self, error: KafkaError) -> None:
        self._refusal.note(error)
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.watch.wake()
