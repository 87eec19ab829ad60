"""What a schema, a value or binary data can get wrong.

InvalidAvroSchema   the schema itself: nothing can be written by it
AvroMismatch        one value or one binary text that does not fit its schema
TooLarge            one value that takes, or makes, more bytes than it may
OutOfTime           the caller's deadline has passed; nothing is known of the value
Refusal             how a mismatch travels inside this package: the place is filled in on its way out
"""

from typing import Self

from registry.avro_json.limits import MOST_EXPECTED
from registry.avro_json.values import shown


class InvalidAvroSchema(ValueError):
    """Names the place in the schema and what is wrong there."""


class AvroMismatch(ValueError):
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


class TooLarge(ValueError):
    """Says how many bytes the value may have."""


class OutOfTime(Exception):
    """The work was left undone."""


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
        expected = self.expected if len(self.expected) <= MOST_EXPECTED else f"{self.expected[:MOST_EXPECTED]}…"
        return AvroMismatch("/".join(map(_escaped, reversed(self.path))), expected, shown(self.got))


def _escaped(part: str | int) -> str:
    """RFC 6901, section 3; a key may be as long as the body, a message may not."""
    text = str(part)
    text = text if len(text) <= 60 else f"{text[:60]}…"
    return text.replace("~", "~0").replace("/", "~1")
