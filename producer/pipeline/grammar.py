"""What the body of a produce request may consist of."""

import threading
from typing import Any, Generic, TypeVar

import msgspec
from django.conf import settings
from msgspec import UNSET, UnsetType

from core import json_text
from producer.errors import TooManyRecords
from producer.pipeline.inbound import NULL, InboundRecord, TopicOptions, TopicRecord

R = TypeVar("R")
# Where to look for repeated field names. The contents of a key or value are not checked.
RECORD: json_text.Shape = {"headers": [{"value": {}}]}


class Envelope(msgspec.Struct, Generic[R], forbid_unknown_fields=True, omit_defaults=True):
    records: list[R] | UnsetType = UNSET
    keySchema: msgspec.Raw = NULL
    valueSchema: msgspec.Raw = NULL


class TopicsEnvelope(msgspec.Struct, Generic[R], forbid_unknown_fields=True, omit_defaults=True):
    records: list[R] | UnsetType = UNSET
    topics: dict[str, TopicOptions] | UnsetType = UNSET


class _Allowance(threading.local):
    """How many more records this thread's body may have."""

    left = 0


allowance = _Allowance()


def _count() -> None:
    """Count a record of a body that may have too many. Decoding stops at the first one past the limit."""
    allowance.left -= 1
    if allowance.left < 0:
        raise too_many()


class _CountedRecord(InboundRecord, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    def __post_init__(self) -> None:
        _count()


class _CountedTopicRecord(TopicRecord, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    def __post_init__(self) -> None:
        _count()


class Grammar(msgspec.Struct, frozen=True):
    """What a body may consist of."""

    envelopes: msgspec.json.Decoder[Any]
    counted_envelopes: msgspec.json.Decoder[Any]
    records: msgspec.json.Decoder[Any]
    shape: json_text.Shape
    example: str

    @property
    def body_example(self) -> str:
        return f'{{"records": [{self.example}]}}'

    @property
    def line_example(self) -> str:
        return f"one record per line, such as {self.example}"


ONE_TOPIC = Grammar(
    msgspec.json.Decoder(Envelope[InboundRecord]),
    msgspec.json.Decoder(Envelope[_CountedRecord]),
    msgspec.json.Decoder(InboundRecord),
    {"records": [RECORD]},
    '{"key": "k", "value": 1}',
)
TOPICS = Grammar(
    msgspec.json.Decoder(TopicsEnvelope[TopicRecord]),
    msgspec.json.Decoder(TopicsEnvelope[_CountedTopicRecord]),
    msgspec.json.Decoder(TopicRecord),
    {"records": [RECORD], "topics": json_text.ALL},
    '{"topic": "orders", "key": "k", "value": 1}',
)


def too_many() -> TooManyRecords:
    return TooManyRecords(f"a request may have at most {settings.TAKHIN_MAX_RECORDS} records (TAKHIN_MAX_RECORDS)")
