"""What a schema, a value or binary data can get wrong.

InvalidAvroSchema   the schema itself: nothing can be written by it
SerializationFailed (of producer.errors)
└── AvroMismatch    one value or one binary text that does not fit its schema
Refusal             how a mismatch travels inside this package: the place is filled in on its way out
"""

from typing import Self

from producer.avro.values import shown
from producer.errors import SerializationFailed


class InvalidAvroSchema(ValueError):
    """Names the place in the schema and what is wrong there."""


class AvroMismatch(SerializationFailed):
    """`pointer` is the JSON pointer to the value, without its leading slash; empty for the whole."""

    def __init__(self, pointer: str, expected: str, got: str) -> None:
        self.pointer = pointer
        self.expected = expected
        self.got = got
        said = f"expected {expected}, got {got}"
        super().__init__(f"{pointer}: {said}" if pointer else said)

    def within(self, part: str) -> Self:
        """The same mismatch seen from outside: `value` makes `address/zip` into `value/address/zip`."""
        pointer = f"{part}/{self.pointer}" if self.pointer else part
        return type(self)(pointer, self.expected, self.got)


class Refusal(Exception):
    """A trial of a union's branch raises and drops many of these, so nothing is rendered until one gets out."""

    def __init__(self, expected: str, got: object, *path: str | int) -> None:
        """`path` is filled from its innermost part outwards."""
        self.expected = expected
        self.got = got
        self.path = list(path)

    def copy(self) -> Self:
        """Apart from this one, which gathers the places that it passes."""
        return type(self)(self.expected, self.got, *self.path)

    def mismatch(self) -> AvroMismatch:
        return AvroMismatch("/".join(map(_escaped, reversed(self.path))), self.expected, shown(self.got))


def _escaped(part: str | int) -> str:
    """RFC 6901, section 3; a key may be as long as the body, a message may not."""
    text = str(part)
    text = text if len(text) <= 60 else f"{text[:60]}…"
    return text.replace("~", "~0").replace("/", "~1")
