"""Whether produce requests may register schemas for a topic. The settings belong to a topic's name, on every log."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from core.database import transactions
from registry.models import TopicSetting
from topics.log import current_log
from topics.log.errors import InvalidTopic, LogRefused, ReservedTopic, TopicExists


def registers_schemas(topic: str) -> bool:
    """Raises StorageUnavailable."""
    return topic not in closed_topics([topic])


def closed_topics(topics: Collection[str] | None = None) -> set[str]:
    """Return the topics, or those among `topics`, that no schemas may be registered for. Raises StorageUnavailable."""
    closed = TopicSetting.objects.filter(registers_schemas=False)
    if topics is not None:
        closed = closed.filter(topic__in=topics)
    with transactions.translated():
        return set(closed.values_list("topic", flat=True))


def set_registers_schemas(topic: str, value: bool) -> None:
    """Raises StorageUnavailable, OutcomeUnknown."""
    transactions.commit(
        lambda: TopicSetting.objects.update_or_create(topic=topic, defaults={"registers_schemas": value})
    )


def forget(topic: str) -> None:
    """Return a topic to the defaults. Raises StorageUnavailable, OutcomeUnknown."""
    with transactions.translated():
        if not TopicSetting.objects.filter(topic=topic).exists():
            return
    transactions.commit(TopicSetting.objects.filter(topic=topic).delete)


@contextmanager
def creating(topic: str, registers_schemas: bool) -> Iterator[None]:
    """Store the setting of a topic that the block creates. Raises TopicExists, StorageUnavailable, OutcomeUnknown.

    A closed topic is closed before it exists, so that no producer can register a schema first. If two requests create
    the topic at the same time, the stricter setting may remain.
    """
    if registers_schemas:
        yield
        # A topic of this name may have been deleted without this server.
        forget(topic)
        return
    if current_log().topics([topic]):
        raise TopicExists(topic)
    set_registers_schemas(topic, False)
    try:
        yield
    except (InvalidTopic, LogRefused, ReservedTopic):
        forget(topic)
        raise
