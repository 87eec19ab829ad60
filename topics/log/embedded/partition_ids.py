"""Remember the primary keys of partitions, so that an append needs no query for them."""

import time

from core.database import transactions
from topics.log.errors import TopicNotFound
from topics.log.validation import is_topic_name
from topics.models import Partition

# Appends notice a topic that another process has deleted, so this limits only how late a 404 can be.
CACHE_SECONDS = 5.0


class PartitionIds:
    def __init__(self) -> None:
        # Until when they are fresh, and the keys, by topic.
        self._known: dict[str, tuple[float, list[int]]] = {}

    def of(self, topic: str) -> list[int]:
        """Return the primary keys of the topic's partitions, by number. Raises TopicNotFound."""
        if not is_topic_name(topic):
            raise TopicNotFound(topic)
        known = self._known.get(topic)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        with transactions.translated():
            ids = list(Partition.objects.filter(topic__name=topic).order_by("number").values_list("id", flat=True))
        if not ids:
            self._known.pop(topic, None)
            raise TopicNotFound(topic)
        self._known[topic] = (time.monotonic() + CACHE_SECONDS, ids)
        return ids

    def forget(self, topic: str) -> bool:
        """Look again next time. Return whether the topic was known."""
        return self._known.pop(topic, None) is not None
