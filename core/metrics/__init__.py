"""Count and measure, cheaply, and for all processes that share a data folder together.

Prometheus' own client keeps a file for each process, too, but takes five times as long to count. So it only writes what
is found here, in its formats.
"""

from core.metrics.observers import Observed, observers, process_observers
from core.metrics.store import share, totals
from core.metrics.topics import SEVERAL, topic_label
from core.metrics.values import Counter, Gauge, Histogram

__all__ = [
    "SEVERAL",
    "Counter",
    "Gauge",
    "Histogram",
    "Observed",
    "observers",
    "process_observers",
    "share",
    "topic_label",
    "totals",
]
