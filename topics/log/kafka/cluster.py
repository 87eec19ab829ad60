"""One process's connection to the cluster: its clients, topic metadata and circuit breaker."""

import threading
from collections.abc import Sequence

from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient

from topics.log.compression import CODECS
from topics.log.kafka import properties
from topics.log.kafka.administration import Administration
from topics.log.kafka.breaker import Breaker
from topics.log.kafka.producers import KafkaProducer, Room
from topics.log.kafka.reader import Reader
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
        admin = AdminClient({**properties.common(), "error_cb": self._failed})
        self.breaker = Breaker()
        self.watch = Watch(admin, self.breaker, is_hidden)
        self.administration = Administration(admin)
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

    def _failed(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.watch.wake()
