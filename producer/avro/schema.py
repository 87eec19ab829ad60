"""One schema, compiled: JSON text to Avro binary and back."""

from collections.abc import Mapping
from typing import Any

import msgspec

from producer.avro import texts
from producer.avro.binary import Cursor, Output
from producer.avro.errors import AvroMismatch, InvalidAvroSchema, Refusal
from producer.avro.kinds import Mode
from producer.avro.parsing import parse
from producer.avro.readers import Readers
from producer.avro.values import Words
from producer.avro.writers import Writers

NO_NAMES: Mapping[str, object] = {}


class AvroSchema:
    """Compiled once and never changed after, so threads share it. `schema` is decoded JSON, and so are the
    schemas in `named`: what it refers to by full name and does not define itself.
    """

    def __init__(
        self,
        schema: object,
        named: Mapping[str, object] = NO_NAMES,
        *,
        latin1_bytes: bool = False,
        ignore_unknown_fields: bool = False,
    ) -> None:
        """Raises InvalidAvroSchema."""
        # The closures know their nodes by id, so the tree must live as long as they do.
        self._node = parse(schema, named)
        writers = Writers(latin1_bytes=latin1_bytes, ignore_unknown_fields=ignore_unknown_fields)
        try:
            self._write = writers.of(self._node, Mode.LENIENT)
            writers.settle_defaults()
            self._read = Readers(writers.unions, latin1_bytes=latin1_bytes).of(self._node)
        except RecursionError:
            raise InvalidAvroSchema("the schema or a default in it is nested too deeply") from None

    def encode(self, text: bytes) -> bytes:
        """JSON text as Avro binary, without the registry's prefix. Raises AvroMismatch."""
        out = Output()
        out.tried = {}
        try:
            self._write(texts.decode(text), out)
        except Refusal as refusal:
            raise refusal.mismatch() from None
        except RecursionError:
            raise too_deep(text) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AvroMismatch("", "JSON", f"{_start(text)} ({error})") from None
        return bytes(out)

    def decode(self, data: bytes) -> bytes:
        """Avro binary as JSON text that `encode` takes back. Raises AvroMismatch."""
        try:
            return msgspec.json.encode(self._value(data))
        except Refusal as refusal:
            raise refusal.mismatch() from None
        except RecursionError:
            raise AvroMismatch("", "less nesting", f"{len(data)} bytes nested too deeply") from None

    def _value(self, data: bytes) -> Any:
        cursor = Cursor(data)
        value = self._read(cursor)
        if cursor.place != len(data):
            raise Refusal("the end of the data", Words(f"{len(data) - cursor.place} more bytes"))
        return value


def too_deep(text: bytes) -> AvroMismatch:
    return AvroMismatch("", "less nesting", _start(text))


def _start(text: bytes) -> str:
    return f"{text[:40].decode(errors='replace')}…" if len(text) > 40 else text.decode(errors="replace")
