"""Records as clients send them, with the JSON texts of their keys and values."""

from operator import attrgetter
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

NULL = msgspec.Raw(b"null")
Timestamp = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Base64Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A header's bytes: `{"base64": "…"}`."""

    base64: str


class InboundHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    key: str
    value: str | Base64Text | UnsetType | None = UNSET


class InboundRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One record as sent. `key` and `value` are JSON text, `null` if absent.

    An absent field is UNSET and a null one is None, so a record has exactly the fields that were sent.
    """

    # msgspec rejects `Raw | None`, so absent and null are both the text `null`.
    key: msgspec.Raw = NULL
    value: msgspec.Raw = NULL
    partition: int | UnsetType | None = UNSET
    timestamp: Timestamp | UnsetType | None = UNSET
    headers: list[InboundHeader] | UnsetType | None = UNSET


class TopicRecord(InboundRecord, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False, kw_only=True):
    """One record of a request to several topics."""

    topic: str


class InlineSchemas(msgspec.Struct, frozen=True):
    """The schemas in a body, as JSON text."""

    key: bytes | None = None
    value: bytes | None = None


class TopicOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a request to several topics writes the records of one, where that differs from the query's parameters."""

    keyFormat: str | UnsetType = UNSET
    valueFormat: str | UnsetType = UNSET
    # A subject, or a schema itself.
    keySchema: msgspec.Raw = NULL
    valueSchema: msgspec.Raw = NULL
    keySchemaId: int | UnsetType = UNSET
    valueSchemaId: int | UnsetType = UNSET


_key_of, _value_of, _topic_of = attrgetter("key"), attrgetter("value"), attrgetter("topic")
NO_SCHEMAS = InlineSchemas()


class Decoded(msgspec.Struct, frozen=True):
    """The records of a body, with the JSON texts of their keys and values as columns.

    In a request to several topics, `topics` has each record's topic, and `topic_options` what the body says of some.
    """

    records: list[InboundRecord]
    keys: list[bytes]
    values: list[bytes]
    schemas: InlineSchemas = NO_SCHEMAS
    topics: list[str] = []
    topic_options: dict[str, TopicOptions] = {}

    def at(self, indexes: list[int]) -> "Decoded":
        """Return the records at these indexes alone, which all have the same topic."""
        return Decoded(
            [self.records[index] for index in indexes],
            [self.keys[index] for index in indexes],
            [self.values[index] for index in indexes],
        )


def decoded(
    records: list[InboundRecord],
    schemas: InlineSchemas = NO_SCHEMAS,
    topic_options: dict[str, TopicOptions] | None = None,
) -> Decoded:
    """Return decoded records with their columns. `topic_options` is not None in a request to several topics."""
    keys, values = list(map(bytes, map(_key_of, records))), list(map(bytes, map(_value_of, records)))
    if topic_options is None:
        return Decoded(records, keys, values, schemas)
    return Decoded(records, keys, values, schemas, list(map(_topic_of, records)), topic_options)
