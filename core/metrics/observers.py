"""Values that are looked up when metrics are shown, instead of being counted."""

from collections.abc import Callable, Iterable, Sequence

import msgspec


class Observed(msgspec.Struct, frozen=True):
    """A metric that is looked up when it is shown: label values, and the value. `kind` is gauge or counter."""

    name: str
    text: str
    labels: Sequence[str]
    samples: Sequence[tuple[Sequence[str], float]]
    kind: str = "gauge"


# Each returns what it observes now, within a second.
Observer = Callable[[], Iterable[Observed]]
# Of what all processes share: whichever responds may look it up.
observers: list[Observer] = []
# Of what each process has for itself. The label `process` is added.
process_observers: list[Observer] = []
