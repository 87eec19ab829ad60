"""The topics that have series of their own. Others are counted together, because clients choose the names."""

from django.conf import settings

OTHER = "other"
# What several topics in one request are called.
SEVERAL = "(several)"
_known: set[str] = set()


def topic_label(topic: str) -> str:
    """Return the label of an existing topic."""
    if topic in _known:
        return topic
    if len(_known) >= settings.TAKHIN_METRICS_TOPICS:
        return OTHER
    _known.add(topic)
    return topic
