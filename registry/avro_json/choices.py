"""Narrow down which branches of a union may accept a value, by its field names or its enum symbol."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from registry.avro_json.binary import Writer
from registry.avro_json.kinds import Kinds
from registry.avro_json.nodes import Enum, Node, Record
from registry.avro_json.values import NOTHING


@dataclass(frozen=True, slots=True)
class Choice:
    """A branch, its writer, and the kinds of JSON values it may accept.

    An `open` branch accepts objects with unknown fields.
    """

    place: int
    branch: Node
    write: Writer
    kinds: Kinds
    open: bool

    @property
    def tag(self) -> str:
        return self.branch.tag

    def for_pass(self, write: Writer, kinds: Kinds) -> "Choice":
        """Return the same branch for a union's first pass."""
        return replace(self, write=write, kinds=kinds, open=False)


class Trials:
    """The choices for one kind of value, in the order they are tried.

    Sets of choices are integer bit masks, so a union of a thousand branches costs little more than one of two.
    """

    def __init__(self, kind: type, choices: Sequence[Choice]) -> None:
        self._choices = [choice for choice in choices if kind in choice.kinds]
        self._any = 0
        self._named: dict[str, int] = {}
        self._required: list[frozenset[str]] = []
        for number, choice in enumerate(self._choices):
            names, required = _names(choice)
            self._required.append(required)
            if names is None:
                self._any |= 1 << number
            for name in names or ():
                self._named[name] = self._named.get(name, 0) | 1 << number
        self._all = (1 << len(self._choices)) - 1

    def candidates(self, value: Any) -> Iterator[Choice]:
        """Yield the choices that the value's names do not rule out."""
        left = self._all
        if type(value) is str:
            left = self._named.get(value, 0) | self._any
        elif type(value) is dict:
            for name in value:
                left &= self._named.get(name, 0) | self._any
        while left:
            number = (left & -left).bit_length() - 1
            left &= left - 1
            if not self._required[number] or self._required[number] <= value.keys():
                yield self._choices[number]


def _names(choice: Choice) -> tuple[set[str] | None, frozenset[str]]:
    """Return the symbols or field names a choice accepts (None for any), and its required fields."""
    branch = choice.branch
    if isinstance(branch, Enum):
        return set(branch.symbols), frozenset()
    if isinstance(branch, Record):
        required = frozenset(field.name for field in branch.fields if field.default is NOTHING)
        return None if choice.open else {field.name for field in branch.fields}, required
    return None, frozenset()
