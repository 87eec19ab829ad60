"""What the registry hands out: plain values, safe to keep."""

import msgspec


class Reference(msgspec.Struct, frozen=True):
    """A named type of a schema, defined by another subject's version."""

    name: str
    subject: str
    version: int


class StoredSchema(msgspec.Struct, frozen=True):
    """A schema under its global id; the same id is the same schema for ever."""

    id: int
    text: str
    schema_type: str
    references: list[Reference]


class Version(msgspec.Struct, frozen=True):
    subject: str
    version: int
    schema: StoredSchema
