"""Choose the branch of a union: the one that the tag names, or the first that matches."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from registry.avro_json.binary import Cursor, Output, Writer, count, new_output
from registry.avro_json.choices import Choice, Trials
from registry.avro_json.errors import Refusal
from registry.avro_json.limits import STEPS_OF_TRIAL


class UnionWriter:
    """Writes a union. `trials` are the branches that share a kind with another branch, in the order they are tried."""

    def __init__(self, expected: str, choices: Sequence[Choice], trials: Sequence[Choice], *, tagged: bool) -> None:
        kinds = {kind for choice in choices for kind in choice.kinds}
        holders = {kind: [choice for choice in choices if kind in choice.kinds] for kind in kinds}
        # A dict may be a tagged value, which takes precedence.
        self.sole = {kind: found[0] for kind, found in holders.items() if len(found) == 1}
        self.tags = _tags(choices) if tagged else {}
        self._trials = {kind: Trials(kind, trials) for kind in kinds if kind not in self.sole}
        self._expected = expected
        self.write = self._compiled()

    def place_of(self, value: Any, cursor: Cursor) -> int | None:
        """Return the branch that `write` would choose for an untagged value, or None if the value could look tagged."""
        sole = self.sole.get(type(value))
        if type(value) is dict and len(value) == 1 and next(iter(value)) in self.tags:
            return None
        if sole is not None:
            return sole.place
        trial = cursor.trial
        if trial is None:
            trial = cursor.trial = new_output(cursor.budget)
        try:
            self.write(value, trial)
            return place_in(trial)
        except Refusal:
            return None
        finally:
            del trial[:]

    def _compiled(self) -> Writer:
        direct = {
            kind: (count(choice.place), choice.write)
            for kind, choice in self.sole.items()
            if not (kind is dict and self.tags)
        }
        search = self._search

        def write(value: Any, out: Output) -> None:
            found = direct.get(type(value))
            if found is None:
                search(value, out)
            else:
                out += found[0]
                found[1](value, out)

        return write

    def _search(self, value: Any, out: Output) -> None:
        kind = type(value)
        tag = next(iter(value)) if kind is dict and len(value) == 1 else None
        named = self.tags.get(tag) if tag is not None else None
        sole = self.sole.get(kind)
        if named is None and sole is not None:
            out += count(sole.place)
            sole.write(value, out)
        elif kind is dict or kind is list:
            self._remembering(value, named, out)
        else:
            self._try(value, self._contenders(value), out)

    def _contenders(self, value: Any) -> Iterable[Choice]:
        trials = self._trials.get(type(value))
        return () if trials is None else trials.candidates(value)

    def _remembering(self, value: Any, named: Choice | None, out: Output) -> None:
        """Choose a branch with a cache: without it, nested unions could double the trials with every level."""
        known = out.tried.get((id(self), id(value)))
        if known is None:
            start = len(out)
            try:
                self._choose(value, named, out)
            except Refusal as refusal:
                out.tried[id(self), id(value)] = refusal.copy()
                raise
            out.remember((id(self), id(value)), bytes(out[start:]))
        elif isinstance(known, Refusal):
            raise known.copy()
        else:
            out += known

    def _choose(self, value: Any, named: Choice | None, out: Output) -> None:
        """Prefer the tagged form if both match, as in the specification's "JSON Encoding"."""
        sole = self.sole.get(type(value))
        trials = self._contenders(value) if sole is None else (sole,)
        if named is None:
            return self._try(value, trials, out)
        tag, member = next(iter(value.items()))
        start = len(out)
        try:
            out += count(named.place)
            named.write(member, out)
        except Refusal as refusal:
            del out[start:]
            refusal.path.append(tag)
            try:
                self._try(value, trials, out)
            except Refusal:
                raise refusal from None
        return None

    def _try(self, value: Any, trials: Iterable[Choice], out: Output) -> None:
        start = len(out)
        for choice in trials:
            out.budget.spend(STEPS_OF_TRIAL)
            try:
                out += count(choice.place)
                choice.write(value, out)
            except Refusal:
                del out[start:]
            else:
                return
        raise Refusal(self._expected, value)


def place_in(out: Output) -> int:
    """Return the branch number at the start of a union's binary."""
    zigzag = shift = 0
    for byte in out:
        zigzag |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return zigzag >> 1


def _tags(choices: Sequence[Choice]) -> dict[str, Choice]:
    """Map full names to choices, and short names too if they are unique."""
    tags = {choice.tag: choice for choice in choices}
    shorts = [choice.tag.rpartition(".")[2] for choice in choices]
    found = Counter(shorts)
    for choice, short in zip(choices, shorts, strict=True):
        if found[short] == 1:
            tags.setdefault(short, choice)
    return tags
