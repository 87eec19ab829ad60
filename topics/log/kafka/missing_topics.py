"""Tell a topic that does not exist from one that was just created, and that not all brokers know yet."""

import time
from collections.abc import Set

from topics.log.errors import TopicNotFound, TopicNotYetVisible

# A topic that was just created is visible on all brokers within this time.
VISIBLE_SECONDS = 5.0
# The names of missing topics that are remembered, which clients choose.
MOST_MISSING = 1000
MISSING_SECONDS = 60.0


class MissingTopics:
    def __init__(self) -> None:
        # When a topic was first asked for in vain.
        self._since: dict[str, float] = {}

    def error(self, topic: str) -> TopicNotFound:
        """Return the error for a topic that the metadata does not have, and remember that it was asked for."""
        now = time.monotonic()
        if len(self._since) < MOST_MISSING:
            self._since.setdefault(topic, now)
        if now - self._since.get(topic, now) < VISIBLE_SECONDS:
            return TopicNotYetVisible(topic)
        return TopicNotFound(topic)

    def learn(self, before: Set[str], known: Set[str], now: float) -> None:
        """Forget topics that exist by now, and those of long ago. Topics that have disappeared were deleted."""
        self._since = {
            name: since
            # A list, because requests add to them meanwhile.
            for name, since in list(self._since.items())
            if name not in known and now - since < MISSING_SECONDS
        } | dict.fromkeys(before - known, now - VISIBLE_SECONDS)
