"""Present the topics of a log without tables to Django's admin, as a queryset of unsaved model instances."""

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import FieldError
from django.db.models import QuerySet

from topics.log import current_log
from topics.log.records import TopicInfo
from topics.models import Topic


def instance(topic: TopicInfo) -> Any:
    """Return a Topic that has no table row. Its primary key is its name, and only the log saves it."""
    config = topic.config
    made: Any = Topic(
        pk=topic.name,
        name=topic.name,
        retention_ms=config.retention_ms,
        retention_bytes=config.retention_bytes,
    )
    made._state.adding = False
    made.info = topic
    made.counted = len(topic.partitions)
    made.records = sum(bounds.kept for bounds in topic.partitions)
    return made


class LogTopicQuerySet(QuerySet[Topic]):
    """The queryset methods that the admin's list uses, answered by the log. Only the topics shown are described.

    Every method may raise StorageUnavailable.
    """

    def __init__(self, names: Iterable[str] | None = None) -> None:
        super().__init__(Topic)
        self.names = current_log().topic_names() if names is None else list(names)

    def _clone(self) -> "LogTopicQuerySet":
        return LogTopicQuerySet(self.names)

    def _fetch_all(self) -> None:
        if self._result_cache is None:
            found = {topic.name: topic for topic in current_log().topics(self.names)}
            self._result_cache = [instance(found[name]) for name in self.names if name in found]

    def __getitem__(self, index: Any) -> Any:
        return LogTopicQuerySet(self.names[index])

    def count(self) -> int:
        return len(self.names)

    def order_by(self, *fields: Any) -> "LogTopicQuerySet":
        return LogTopicQuerySet(reversed(self.names) if "-name" in fields else self.names)

    def filter(self, *conditions: Any, pk__in: Iterable[str] | None = None) -> "LogTopicQuerySet":
        if any(conditions):
            raise FieldError("topics of this log can only be searched by name")
        chosen = set(self.names if pk__in is None else pk__in)
        return LogTopicQuerySet(name for name in self.names if name in chosen)

    def search(self, words: Iterable[str]) -> "LogTopicQuerySet":
        """Return the topics whose name contains every word."""
        return LogTopicQuerySet(name for name in self.names if all(word.lower() in name.lower() for word in words))
