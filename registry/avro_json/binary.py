"""The basic pieces of Avro binary: zigzag numbers to write, and a cursor to read from."""

import math
import time
from collections.abc import Callable
from typing import Any

from registry.avro_json.errors import OutOfTime, Refusal, TooLarge
from registry.avro_json.limits import MIB, MOST_EMPTY, MOST_STEPS, STEPS_BETWEEN_LOOKS, TIMES_REMEMBERED
from registry.avro_json.values import Description

INT = range(-(2**31), 2**31)
LONG = range(-(2**63), 2**63)


class Budget:
    """Limits the bytes and steps of one value, and the time (a deadline in monotonic seconds) for all values.

    Steps count work that the length of a value does not bound: trying union branches and filling in defaults. One
    budget may serve many values, one after another.
    """

    __slots__ = ("_most_steps", "_since", "deadline", "most_bytes", "spent")

    def __init__(self, most_bytes: int = MIB, deadline: float = math.inf, most_steps: int = MOST_STEPS) -> None:
        self.most_bytes = most_bytes
        self.deadline = deadline
        self.spent = 0
        self._since = 0
        self._most_steps = most_steps

    def spend(self, steps: int) -> None:
        """Raises TooLarge, OutOfTime."""
        self._since += steps
        if self._since > STEPS_BETWEEN_LOOKS:
            self.look()

    def look(self) -> None:
        """Raises TooLarge, OutOfTime."""
        self.spent += self._since
        self._since = 0
        if self.spent > self._most_steps:
            raise TooLarge(f"takes more than {self._most_steps} steps to encode (union branches and defaults)")
        if time.monotonic() > self.deadline:
            raise OutOfTime


class Output(bytearray):
    """The binary being written. `tried` caches what a union wrote for an object or array, so nothing is tried twice."""

    __slots__ = ("_remembered", "budget", "tried")

    budget: Budget
    tried: dict[tuple[int, int], Any]
    _remembered: int

    def check(self) -> None:
        """Raises TooLarge."""
        if len(self) > self.budget.most_bytes:
            raise TooLarge(f"takes more than {self.budget.most_bytes} bytes")

    def remember(self, name: tuple[int, int], made: bytes) -> None:
        """Raises TooLarge."""
        self._remembered = getattr(self, "_remembered", 0) + len(made)
        most = self.budget.most_bytes * TIMES_REMEMBERED
        if self._remembered > most:
            raise TooLarge(f"takes more than {most} bytes to choose the branches of nested unions")
        self.tried[name] = made


def new_output(budget: Budget) -> Output:
    out = Output()
    out.tried = {}
    out.budget = budget
    return out


Writer = Callable[[Any, Output], None]


def zigzag(number: int) -> bytes:
    """Encode a long as a variable-length zigzag number. The caller has checked its range."""
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
# Lengths and indexes are mostly small, and a lookup takes a third of the time.
SMALL = [zigzag(number) for number in range(4096)]


def count(number: int) -> bytes:
    return SMALL[number] if number < 4096 else zigzag(number)


class Cursor:
    """A position in the data. Every read checks the remaining length before it consumes or allocates anything.

    `budget` bounds the size of the JSON where the length of the data does not. `trial` is a scratch output in which
    unions encode values to see which branch our writer would choose.
    """

    __slots__ = ("_empty", "_room", "budget", "data", "place", "trial")

    def __init__(self, data: bytes, budget: Budget) -> None:
        self.data = data
        self.place = 0
        self.budget = budget
        self.trial: Output | None = None
        self._room = budget.most_bytes
        self._empty = 0

    def spend(self, characters: int) -> None:
        """Count text whose size the length of the data does not bound. Raises TooLarge."""
        self._room -= characters
        if self._room < 0:
            raise TooLarge(f"has more than {self.budget.most_bytes} bytes as JSON")

    def take(self, size: int, expected: str) -> bytes:
        end = self.place + size
        if size < 0 or end > len(self.data):
            left = len(self.data) - self.place
            raise Refusal(expected, Description(f"a length of {size} bytes with only {left} left"))
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
                    raise Refusal(expected, Description("a number of more than 64 bits"))
        except IndexError:
            raise Refusal(expected, Description("the end of the data")) from None
        self.place = place
        number = (rest >> 1) ^ -(rest & 1)
        if number not in allowed:
            raise Refusal(expected, number)
        return number

    def empty(self) -> None:
        self._empty += 1
        if self._empty > MOST_EMPTY:
            raise Refusal(f"at most {MOST_EMPTY} zero-length items", Description("more"))
