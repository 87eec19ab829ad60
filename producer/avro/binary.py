"""The smallest pieces of Avro binary: zigzag numbers going out, and a place to read from coming in."""

from collections.abc import Callable
from typing import Any

from producer.avro.errors import Refusal
from producer.avro.values import Words

INT = range(-(2**31), 2**31)
LONG = range(-(2**63), 2**63)
# An item that takes no bytes (null, an empty record) costs its writer nothing, and the reader memory.
MOST_EMPTY = 100_000


class Output(bytearray):
    """`tried` remembers what a union made of an object or array, so that no trial is made twice."""

    __slots__ = ("tried",)

    tried: dict[tuple[int, int], Any]


Writer = Callable[[Any, Output], None]


def zigzag(number: int) -> bytes:
    """A long as variable-length zigzag; the caller has checked its range."""
    rest = (number << 1) ^ (number >> 63)
    if rest < 0x80:
        return _ONE[rest]
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


_ONE = [bytes((number,)) for number in range(0x80)]
# Lengths and indexes are mostly small: a look-up takes a third of the time.
SMALL = [zigzag(number) for number in range(4096)]


def count(number: int) -> bytes:
    return SMALL[number] if number < 4096 else zigzag(number)


class Cursor:
    """Where reading stands. Every read checks what is left before it takes or allocates anything."""

    __slots__ = ("_empty", "data", "place", "tried")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0
        self.tried: dict[tuple[int, int], Any] = {}
        self._empty = 0

    def take(self, size: int, expected: str) -> bytes:
        end = self.place + size
        if size < 0 or end > len(self.data):
            left = len(self.data) - self.place
            raise Refusal(expected, Words(f"a length of {size} bytes with {left} left"))
        taken = self.data[self.place : end]
        self.place = end
        return taken

    def number(self, expected: str, allowed: range = LONG) -> int:
        data = self.data
        place = self.place
        rest = shift = 0
        try:
            while True:
                byte = data[place]
                place += 1
                rest |= (byte & 0x7F) << shift
                if byte < 0x80:
                    break
                shift += 7
                if shift > 63:
                    raise Refusal(expected, Words("a number of more than 64 bits"))
        except IndexError:
            raise Refusal(expected, Words("the end of the data")) from None
        self.place = place
        number = (rest >> 1) ^ -(rest & 1)
        if number not in allowed:
            raise Refusal(expected, number)
        return number

    def empty(self) -> None:
        self._empty += 1
        if self._empty > MOST_EMPTY:
            raise Refusal("an end", Words(f"more than {MOST_EMPTY} items that take no bytes"))
