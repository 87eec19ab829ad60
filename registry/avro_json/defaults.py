"""Encode the default of a field as Avro binary, to be written when the field is missing."""

from collections.abc import Callable

from registry.avro_json.binary import Budget, Writer, new_output
from registry.avro_json.errors import InvalidAvroSchema, Refusal, TooLarge


class Default:
    """A default, encoded once. It may need the defaults of nested records, so it is encoded on first use.

    All defaults of a schema share one `budget`, because nested defaults can double in size with every level.
    """

    def __init__(self, place: str, value: object, writer: Callable[[], Writer], budget: Budget) -> None:
        self._place = place
        self._value = value
        self._writer: Callable[[], Writer] | None = writer
        self._budget = budget
        self._encoded: bytes | None = None
        self._under_way = False

    def __call__(self) -> bytes:
        if self._encoded is None:
            if self._under_way:
                raise InvalidAvroSchema(f"the default of {self._place} contains itself")
            self._under_way = True
            self._encoded = self._encode()
            # Writers refer to their defaults: without this, every compiled schema would be a reference cycle.
            self._writer = None
        return self._encoded

    def _encode(self) -> bytes:
        assert self._writer is not None
        out = new_output(self._budget)
        try:
            self._writer()(self._value, out)
            # Even a default of zero bytes costs work.
            self._budget.spend(1)
            out.check()
        except Refusal as refusal:
            raise InvalidAvroSchema(f"the default of {self._place} is invalid: {refusal.mismatch()}") from None
        except TooLarge as error:
            raise InvalidAvroSchema(f"the default of {self._place}, together with those before it, {error}") from None
        self._budget.most_bytes -= len(out)
        return bytes(out)
