"""Names of subjects: which are valid, and which topic one belongs to."""

import re

from registry import errors
from topics.backends.base import is_topic_name

MAX_SUBJECT = 255
# What Java calls ISO control characters, as in Confluent's registry.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# `:.ctx:name` is a subject of a context; this registry has the default context only.
_IN_CONTEXT = ":."


def check(subject: str) -> None:
    """Raise InvalidSubject unless this name can be a subject's."""
    if not subject or len(subject) > MAX_SUBJECT or _CONTROL.search(subject) or subject.startswith(_IN_CONTEXT):
        raise errors.InvalidSubject(subject)


def topic_of(subject: str) -> str | None:
    """The topic whose subject this is: all before the last dash; None where that is not a topic name.

    That is exact for the strategies that name subjects after topics, although topic names may hold dashes:
    `T-key` and `T-value` (TopicNameStrategy) end in no other dash, and neither does `T-com.acme.Order`
    (TopicRecordNameStrategy), because Avro names have none.
    """
    topic, _, _ = subject.rpartition("-")
    return topic if is_topic_name(topic) else None
