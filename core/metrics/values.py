"""Counters, gauges and histograms. Names and units follow Prometheus' conventions.

Adding to a value takes no lock, which would cost more than everything else: CPython switches threads only at calls and
at jumps back, and so never within `numbers[index] += amount`.
"""

from bisect import bisect_left
from collections.abc import Sequence

from core.metrics import store
from core.metrics.store import Key

# By name, as long as the process lives.
METRICS: dict[str, "Metric"] = {}


class Metric:
    """A metric with a series for each combination of its labels' values, which must be few.

    An `internal` one is not shown to Prometheus.
    """

    kind = ""
    # The type in Prometheus's formats.
    shown_kind = ""
    width = 1

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), *, internal: bool = False) -> None:
        self.name, self.text, self.labels, self.internal = name, text, tuple(labels), internal
        self._indexes: dict[Key, int] = {}
        store.forgetful.append(self._indexes)
        METRICS[name] = self

    def _allocate(self, values: Key) -> int:
        key = (self.name, *values)
        index = self._indexes[values] = store.current.allocate(key, self.width, is_gauge=self.kind == "gauge")
        return index


class Counter(Metric):
    kind = "counter"

    def add(self, *values: str, amount: float = 1.0) -> None:
        index = self._indexes.get(values)
        if index is None:
            index = self._allocate(values)
        store.current.values[index] += amount


class Gauge(Metric):
    """The sum of what the processes that live have set."""

    kind = "gauge"

    def set(self, value: float, *values: str) -> None:
        index = self._indexes.get(values)
        if index is None:
            index = self._allocate(values)
        store.current.values[index] = value


class ProcessCounter(Gauge):
    """A counter that a process reads elsewhere, and that ends with it."""

    shown_kind = "counter"


class Histogram(Metric):
    """Counts values by buckets with these upper bounds."""

    kind = "histogram"

    def __init__(self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> None:
        super().__init__(name, text, labels)
        self.bounds = tuple(bounds)
        # One for what is larger than all bounds, and one for the sum.
        self.width = len(self.bounds) + 2

    def observe(self, value: float, *values: str) -> None:
        index = self._indexes.get(values)
        if index is None:
            index = self._allocate(values)
        numbers = store.current.values
        numbers[index + bisect_left(self.bounds, value)] += 1
        numbers[index + self.width - 1] += value


# From half a millisecond to ten seconds.
SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
