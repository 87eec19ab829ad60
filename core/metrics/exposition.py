"""Show all metrics in Prometheus' text format or as OpenMetrics."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from core.errors import StorageError
from core.metrics import store
from core.metrics.observers import Observed, observers
from core.metrics.values import METRICS, Histogram

log = structlog.get_logger("takhin.metrics")


class _All(Collector):
    def collect(self) -> Iterator[Metric]:
        found: dict[str, list[tuple[Sequence[str], list[float]]]] = {}
        for (name, *values), numbers in store.totals().items():
            found.setdefault(name, []).append((values, numbers))
        for name, metric in METRICS.items():
            if not metric.internal:
                yield _family(metric, found.get(name, []))
        for observer in observers:
            try:
                observed = list(observer())
            except StorageError as error:
                # The others are worth more than nothing.
                log.warning("not_observed", error=str(error))
                continue
            for one in observed:
                yield _observed(one)


def _family(metric: Any, series: list[tuple[Sequence[str], list[float]]]) -> Metric:
    if isinstance(metric, Histogram):
        histogram = HistogramMetricFamily(metric.name, metric.text, labels=metric.labels)
        for values, numbers in series:
            if len(numbers) == metric.width:
                *counts, total = numbers
                bounds = [*(f"{bound:g}" for bound in metric.bounds), "+Inf"]
                histogram.add_metric(values, list(zip(bounds, itertools.accumulate(counts), strict=True)), total)
        return histogram
    kind = CounterMetricFamily if "counter" in (metric.kind, metric.shown_kind) else GaugeMetricFamily
    family = kind(metric.name, metric.text, labels=metric.labels)
    for values, (number, *_) in series:
        family.add_metric(values, number)
    return family


def _observed(one: Observed) -> Metric:
    kind = CounterMetricFamily if one.kind == "counter" else GaugeMetricFamily
    family = kind(one.name, one.text, labels=one.labels)
    for values, number in one.samples:
        family.add_metric(values, number)
    return family


registry = CollectorRegistry(auto_describe=False)
registry.register(_All())


def render(accept: str) -> tuple[bytes, str]:
    """Return all metrics in the best format that an Accept header allows, and its content type."""
    encode, content_type = exposition.choose_encoder(accept)
    text: bytes = encode(registry)
    return text, content_type
