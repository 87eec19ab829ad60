"""Find the topics that a request names, or create them."""

import contextlib
import time
from collections.abc import Callable

from django.conf import settings

from core import lane
from producer.models import ApiKey
from producer.options import Options
from producer.pipeline import topics
from producer.pipeline.inbound import Decoded
from topics.log import current_log
from topics.log.errors import InvalidTopic, TopicExists, TopicNotFound

MOST_TOPICS_IN_LANE = 5
# The names of several topics are stored together, in the column for one.
MOST_SHOWN_TOPICS = 249


def find_or_create(topic: str) -> None:
    """Create the topic if it does not exist and clients may create topics. Raises TopicNotFound, InvalidTopic."""
    try:
        current_log().partition_count(topic)
    except TopicNotFound:
        if not settings.TAKHIN_AUTO_CREATE_TOPICS:
            raise
        lane.leave()
        _create_if_absent(topic)


def _create_if_absent(topic: str) -> None:
    """Create the topic, unless another request has just created it. Raises InvalidTopic."""
    with contextlib.suppress(TopicExists):
        current_log().create_topic(topic, settings.TAKHIN_DEFAULT_PARTITIONS)


def find_all(
    decoded: Decoded, check_topic: Callable[[str], None], chosen: Options, api_key: ApiKey | None
) -> tuple[str, Options]:
    """Return the topics' names as they are stored, and the options of those that exist.

    Raises PermissionDenied, TopicNotFound if none of them exists, and Overloaded if that takes too long.
    """
    names = topics.names_of(decoded)
    for name in names:
        check_topic(name)
    if decoded.topic_options or len(names) > MOST_TOPICS_IN_LANE:
        # Schemas may come from another server, and each topic may need a query.
        lane.leave()
    # Each topic may have to be created, and each schema found, on another server.
    until = time.monotonic() + settings.TAKHIN_PRODUCE_TIMEOUT
    known: list[str] = []
    for name in names:
        topics.check_time(until)
        try:
            find_or_create(name)
        except (TopicNotFound, InvalidTopic):
            if len(names) == 1:
                raise
        else:
            known.append(name)
    if not known:
        raise TopicNotFound(names[0])
    label = ",".join(names)
    if len(label) > MOST_SHOWN_TOPICS:
        label = f"{label[: MOST_SHOWN_TOPICS - 1]}…"
    return label, topics.with_topics(known, decoded, chosen, api_key, until)
