"""Errors in schemas, values and binary data.

InvalidAvroSchema   the schema is invalid and cannot be used
AvroMismatch        a value or some binary data does not match its schema
TooLarge            a value takes, or expands to, more bytes than allowed
OutOfTime           the caller's deadline has passed; the value may or may not be valid
Refusal             a mismatch inside this package, which collects its path on the way up
"""

from typing import Self

from registry.avro_json.limits import MOST_EXPECTED
from registry.avro_json.values import shown


class InvalidAvroSchema(ValueError):
    """The schema is invalid. The message names the type or field and the problem."""


class AvroMismatch(ValueError):
    """A value does not match its schema.

    `pointer` is the JSON pointer to the value, without its leading slash; empty for the root.
    """

    def __init__(self, pointer: str, expected: str, got: str) -> None:
        self.pointer = pointer
        self.expected = expected
        self.got = got
        said = f"expected {expected}, got {got}"
        super().__init__(f"{pointer}: {said}" if pointer else said)

    def within(self, part: str) -> Self:
        """Return this mismatch with `part` before its pointer: `value` turns `address/zip` into `value/address/zip`."""
        pointer = f"{part}/{self.pointer}" if self.pointer else part
        return type(self)(pointer, self.expected, self.got)


class TooLarge(ValueError):
    """A value is too large. The message names the limit."""


class OutOfTime(Exception):
    """The deadline has passed before the work was finished."""


class Refusal(Exception):
    """A mismatch. Trying union branches raises and drops many of these, so the message is rendered only at the end."""

    def __init__(self, expected: str, got: object, *path: str | int) -> None:
        """`path` is collected from the innermost part outwards."""
        self.expected = expected
        self.got = got
        self.path = list(path)

    def copy(self) -> Self:
        """Return a copy whose path grows independently."""
        return type(self)(self.expected, self.got, *self.path)

    def mismatch(self) -> AvroMismatch:
        expected = self.expected if len(self.expected) <= MOST_EXPECTED else f"{self.expected[:MOST_EXPECTED]}…"
        return AvroMismatch("/".join(map(_escaped, reversed(self.path))), expected, shown(self.got))


def _escaped(part: str | int) -> str:
    """Escape a path part (RFC 6901, section 3), and shorten long keys."""
    text = str(part)
    text = text if len(text) <= 60 else f"{text[:60]}…"
    return text.replace("~", "~0").replace("/", "~1")
