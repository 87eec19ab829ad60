"""Turn a field's default into the Avro binary that stands where the field is left out."""

from collections.abc import Callable

from registry.avro_json.binary import Budget, Writer, new_output
from registry.avro_json.errors import InvalidAvroSchema, Refusal, TooLarge


class Default:
    """Encoded once. A default may need the defaults of records inside it, so they are made when first asked for.

    `budget` is that of all the schema's defaults together: inside one another they can double with every level.
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
            # Writers know their defaults: without this, every compiled schema would be a cycle.
            self._writer = None
        return self._encoded

    def _encode(self) -> bytes:
        assert self._writer is not None
        out = new_output(self._budget)
        try:
            self._writer()(self._value, out)
            # As one that takes none is work too.
            self._budget.spend(1)
            out.check()
        except Refusal as refusal:
            raise InvalidAvroSchema(f"the default of {self._place} does not fit: {refusal.mismatch()}") from None
        except TooLarge as error:
            raise InvalidAvroSchema(f"the default of {self._place}, with those before it, {error}") from None
        self._budget.most_bytes -= len(out)
        return bytes(out)
