"""Encode and decode Confluent's wire format: a zero byte, the schema id in four bytes, and Avro binary.

https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

import struct
import time
from collections.abc import Callable

from django.conf import settings

from registry.access import Key
from registry.avro_json import AvroMismatch, AvroSchema, Budget, OutOfTime, TooLarge
from registry.errors import InvalidSchema, RegistryUnavailable, SchemaNotFound
from registry.sources.base import SchemaSource, current_source
from registry.sources.guarded import source_for
from topics.decoders import Decoded, Undecoded
from topics.log.validation import MAX_READ_BYTES

# The name of this format in requests and responses.
FORMAT = "avro"
_PREFIX = struct.Struct(">bI")
# Names of fields and symbols make JSON a few times longer than Avro. A value that grows more is returned undecoded.
TIMES_LONGER = 4
# The limits for decoding one response.
MOST_DECODED = TIMES_LONGER * MAX_READ_BYTES
DECODE_SECONDS = 5.0


def encoder(schema_id: int | None, budget: Budget) -> Callable[[bytes], bytes]:
    """Return a function from JSON text to framed Avro. Raises SchemaNotFound, InvalidSchema, RegistryUnavailable."""
    if schema_id is None:
        raise SchemaNotFound("the request's schema is not resolved")
    encode = current_source().schema(schema_id).encode
    prefix = _PREFIX.pack(0, schema_id)
    return lambda text: prefix + encode(text, budget)


class Decoder:
    """Decodes the framed Avro of one response, with limits on total bytes and seconds.

    To a key that may use none of a schema's subjects, the schema is unknown.
    """

    format = FORMAT

    def __init__(self, key: Key | None) -> None:
        self._source = source_for(key)
        self._left = MOST_DECODED
        self._deadline = time.monotonic() + DECODE_SECONDS
        self._schemas: dict[int, AvroSchema | Undecoded | None] = {}

    def decode(self, data: bytes) -> Decoded | None:
        """Decode framed Avro to JSON text. Return None for other bytes or an unknown schema. Raises Undecoded."""
        if len(data) < _PREFIX.size or data[0] != 0:
            return None
        _, schema_id = _PREFIX.unpack_from(data)
        schema = self._schema(schema_id)
        if schema is None:
            return None
        most = min(self._left, TIMES_LONGER * settings.TAKHIN_MAX_RECORD_BYTES)
        try:
            text = schema.decode(data[_PREFIX.size :], Budget(most, self._deadline)).decode()
        except AvroMismatch:
            return None
        except TooLarge as error:
            # Charge a whole record's share, or all that was left.
            self._left -= most
            raise Undecoded(str(error)) from None
        except OutOfTime:
            raise Undecoded(TOO_LONG) from None
        self._left -= len(text)
        return Decoded(text, schema_id, FORMAT)

    def _schema(self, schema_id: int) -> AvroSchema | None:
        """Raises Undecoded."""
        if self._left <= 0:
            raise Undecoded(f"the records before it already have {MOST_DECODED} bytes as JSON")
        if time.monotonic() > self._deadline:
            raise Undecoded(TOO_LONG)
        if schema_id not in self._schemas:
            self._schemas[schema_id] = _found(self._source, schema_id)
        found = self._schemas[schema_id]
        if isinstance(found, Undecoded):
            raise Undecoded(str(found))
        return found


TOO_LONG = f"decoding took more than {DECODE_SECONDS:.0f} seconds"


def _found(source: SchemaSource, schema_id: int) -> AvroSchema | Undecoded | None:
    try:
        return source.schema(schema_id)
    except SchemaNotFound:
        return None
    except (InvalidSchema, RegistryUnavailable) as error:
        return Undecoded(str(error))
