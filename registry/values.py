"""Plain values that the registry returns, safe to keep."""

import msgspec


class Reference(msgspec.Struct, frozen=True):
    """A named type that a version of another subject defines."""

    name: str
    subject: str
    version: int


class StoredSchema(msgspec.Struct, frozen=True):
    """A schema and its global id. An id always refers to the same schema."""

    id: int
    text: str
    schema_type: str
    references: list[Reference]


class Version(msgspec.Struct, frozen=True):
    subject: str
    version: int
    schema: StoredSchema
