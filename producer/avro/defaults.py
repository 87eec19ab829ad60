"""Turn a field's default into the Avro binary that stands where the field is left out."""

from collections.abc import Callable

from producer.avro.binary import Output, Writer
from producer.avro.errors import InvalidAvroSchema, Refusal

# Defaults inside defaults can double with every level of the schema.
MOST_BYTES = 1024 * 1024


class Default:
    """Encoded once. A default may need the defaults of records inside it, so they are made when first asked for."""

    def __init__(self, place: str, value: object, writer: Callable[[], Writer]) -> None:
        self._place = place
        self._value = value
        self._writer = writer
        self._encoded: bytes | None = None
        self._under_way = False

    def __call__(self) -> bytes:
        if self._encoded is None:
            if self._under_way:
                raise InvalidAvroSchema(f"the default of {self._place} contains itself")
            self._under_way = True
            self._encoded = self._encode()
        return self._encoded

    def _encode(self) -> bytes:
        out = Output()
        out.tried = {}
        try:
            self._writer()(self._value, out)
        except Refusal as refusal:
            raise InvalidAvroSchema(f"the default of {self._place} does not fit: {refusal.mismatch()}") from None
        if len(out) > MOST_BYTES:
            raise InvalidAvroSchema(f"the default of {self._place} takes more than {MOST_BYTES} bytes")
        return bytes(out)
