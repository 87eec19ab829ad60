"""A compiled schema, which converts JSON text to Avro binary and back."""

from collections.abc import Iterable
from typing import Any

import msgspec

from registry.avro_json import texts
from registry.avro_json.binary import Budget, Cursor, Output
from registry.avro_json.errors import AvroMismatch, InvalidAvroSchema, Refusal, TooLarge
from registry.avro_json.kinds import Matching
from registry.avro_json.limits import MIB
from registry.avro_json.nodes import Enum, Fixed, Record
from registry.avro_json.parsing import parse
from registry.avro_json.readers import Readers
from registry.avro_json.values import Description
from registry.avro_json.writers import Writers

# A caller that passes no budget trusts both the schema and the values.
UNBOUNDED = Budget(most_bytes=2**62)


class AvroSchema:
    """A compiled schema. It is immutable, so threads can share it.

    `schema` and `dependencies` are decoded JSON. The dependencies define the types that the schema refers to, each
    after its own dependencies. `most_bytes` limits the size of a record, of a fixed, and of all defaults together.
    `size` is the number of compiled types, fields and branches.
    """

    def __init__(
        self,
        schema: object,
        dependencies: Iterable[object] = (),
        *,
        latin1_bytes: bool = False,
        ignore_unknown_fields: bool = False,
        most_bytes: int = MIB,
    ) -> None:
        """Raises InvalidAvroSchema."""
        try:
            # The closures identify nodes by id, so the tree must live as long as they do.
            self._node, self.size = parse(schema, dependencies, most_bytes)
            writers = Writers(
                latin1_bytes=latin1_bytes, ignore_unknown_fields=ignore_unknown_fields, most_bytes=most_bytes
            )
            self._write = writers.writer(self._node, Matching.LENIENT)
            writers.settle_defaults()
            self._read = Readers(writers.unions, latin1_bytes=latin1_bytes).reader(self._node)
        except RecursionError:
            raise InvalidAvroSchema("the schema or a default in it is nested too deeply") from None

    @property
    def name(self) -> str | None:
        """The full name of a record, enum or fixed; None for other types."""
        return self._node.tag if isinstance(self._node, Record | Enum | Fixed) else None

    def encode(self, text: bytes, budget: Budget = UNBOUNDED) -> bytes:
        """Encode JSON text as Avro binary, without the registry's prefix. Raises AvroMismatch, TooLarge, OutOfTime."""
        out = Output()
        out.tried = {}
        out.budget = budget
        if budget.spent:
            budget.spent = 0
        try:
            self._write(texts.decode(text), out)
        except Refusal as refusal:
            raise refusal.mismatch() from None
        except RecursionError:
            raise too_deep(text) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            # The text of a request is valid JSON, so this is msgspec's message for a lone surrogate.
            is_cut = str(error) == "Input data was truncated"
            reason = "a lone surrogate, which UTF-8 cannot encode" if is_cut else error
            raise AvroMismatch("", "JSON", f"{_start(text)} ({reason})") from None
        if len(out) > budget.most_bytes:
            out.check()
        return bytes(out)

    def decode(self, data: bytes, budget: Budget = UNBOUNDED) -> bytes:
        """Decode Avro binary to JSON text that `encode` accepts. Raises AvroMismatch, TooLarge, OutOfTime."""
        budget.spent = 0
        try:
            text = msgspec.json.encode(self._value(Cursor(data, budget)))
        except Refusal as refusal:
            raise refusal.mismatch() from None
        except RecursionError:
            raise AvroMismatch("", "less nesting", f"{len(data)} bytes nested too deeply") from None
        if len(text) > budget.most_bytes:
            raise TooLarge(f"has more than {budget.most_bytes} bytes as JSON")
        return text

    def _value(self, cursor: Cursor) -> Any:
        value = self._read(cursor)
        left = len(cursor.data) - cursor.place
        if left:
            raise Refusal("the end of the data", Description(f"{left} more bytes"))
        return value


def too_deep(text: bytes) -> AvroMismatch:
    return AvroMismatch("", "less nesting", _start(text))


def _start(text: bytes) -> str:
    return f"{text[:40].decode(errors='replace')}…" if len(text) > 40 else text.decode(errors="replace")
