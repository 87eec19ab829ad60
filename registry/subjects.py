"""Validate subject names and map them to topics."""

import re

from registry import errors
from topics.log.validation import is_topic_name

MAX_SUBJECT = 255
# Java's ISO control characters, as in Confluent's registry.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# `:.ctx:name` is a subject in a context; this registry has only the default context.
_IN_CONTEXT = ":."


def check(subject: str) -> None:
    """Raise InvalidSubject unless the subject name is valid."""
    if not subject or len(subject) > MAX_SUBJECT or _CONTROL.search(subject) or subject.startswith(_IN_CONTEXT):
        raise errors.InvalidSubject(subject)


def topic_of(subject: str) -> str | None:
    """Return the topic that a subject belongs to: the part before the last dash, or None if that is not a topic name.

    This is exact for the strategies that name subjects after topics, even if the topic name contains dashes: the suffix
    of `T-key` and `T-value` (TopicNameStrategy) has no dash, nor does that of `T-com.acme.Order`
    (TopicRecordNameStrategy), because Avro names contain no dashes.
    """
    topic, _, _ = subject.rpartition("-")
    return topic if is_topic_name(topic) else None
