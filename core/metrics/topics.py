"""The topics that have series of their own. Others are counted together, because clients choose the names."""

from django.conf import settings

OTHER = "other"
# The label of a request with several topics.
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
