"""Put Avro in Confluent's wire format and take it out: a zero byte, the schema id in four bytes, Avro binary.

https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

import struct
from collections.abc import Callable

from producer.avro import AvroMismatch
from producer.errors import RegistryUnavailable, SchemaNotFound
from producer.models import ApiKey
from producer.schemas.guarded import source_for
from producer.schemas.sources import current_source

_PREFIX = struct.Struct(">bI")


def encoder(schema_id: int) -> Callable[[bytes], bytes]:
    """What turns a JSON text into framed Avro. Raises SchemaNotFound, RegistryUnavailable."""
    encode = current_source().schema(schema_id).encode
    prefix = _PREFIX.pack(0, schema_id)
    return lambda text: prefix + encode(text)


def decode(data: bytes, key: ApiKey | None = None) -> tuple[str, int] | None:
    """Framed Avro as JSON text and its schema id; None for bytes that are no such thing, or of an unknown schema.

    A schema is unknown to a key that sees none of its subjects.
    """
    if len(data) < _PREFIX.size or data[0] != 0:
        return None
    _, schema_id = _PREFIX.unpack_from(data)
    try:
        return source_for(key).schema(schema_id).decode(data[_PREFIX.size :]).decode(), schema_id
    except (SchemaNotFound, RegistryUnavailable, AvroMismatch):
        return None
