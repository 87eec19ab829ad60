"""The traffic of the last hour and the last day for the dashboard, from sums per minute and per quarter of an hour."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
from django.db.models import Sum

from core.metrics.values import SECONDS
from core.models import Rollup

MINUTES = 60
QUARTERS = 96
# The rates shown are those of the last complete minutes.
RECENT = 5
MOST_TOPICS = 15
HOURLY = ("requests", "records", "bytes", "latency")


class Series(msgspec.Struct):
    """Values of each minute of the last hour."""

    requests: list[float]
    failed: list[float]
    records: list[float]
    bytes: list[float]
    # By minute, how many requests there were in each bucket of time.
    latency: list[list[float]]

    def rate(self, values: Sequence[float]) -> float:
        """Return the average per second of the last complete minutes."""
        return sum(values[-RECENT - 1 : -1]) / RECENT / 60

    def percentile(self, share: float, minutes: int = RECENT) -> float | None:
        """Return the time in seconds that this share of the requests took at most, or None if there were none."""
        return percentile([sum(column) for column in zip(*self.latency[-minutes - 1 :], strict=True)], share)

    def percentiles(self, share: float) -> list[float | None]:
        """Return the percentile of each minute, in milliseconds."""
        found = (percentile(buckets, share) for buckets in self.latency)
        return [None if seconds is None else round(seconds * 1000, 2) for seconds in found]


class TopicTraffic(msgspec.Struct):
    name: str
    requests: float = 0.0
    written: float = 0.0
    failed: float = 0.0
    hour: list[float] = []
    day: list[float] = []


def percentile(buckets: Sequence[float], share: float) -> float | None:
    """Interpolate in the bucket where the percentile is, as Prometheus does."""
    wanted, below = sum(buckets) * share, 0.0
    if not wanted:
        return None
    for index, count in enumerate(buckets):
        if below + count >= wanted:
            low = SECONDS[index - 1] if index else 0.0
            high = SECONDS[min(index, len(SECONDS) - 1)]
            return low + (high - low) * (wanted - below) / count
        below += count
    return SECONDS[-1]


def hour() -> tuple[Series, Counter[str]]:
    """Return the last hour of all topics together, and how many requests failed, by code."""
    first = _minute() - MINUTES + 1
    nothing = [0.0] * MINUTES
    latency = [[0.0] * (len(SECONDS) + 1) for _ in range(MINUTES)]
    found = Series([*nothing], [*nothing], [*nothing], [*nothing], latency)
    codes: Counter[str] = Counter()
    rows = Rollup.objects.filter(step=1, metric__in=HOURLY, topic="", minute__gte=first)
    for metric, label, minute, value in rows.values_list("metric", "label", "minute", "value"):
        at = minute - first
        if not 0 <= at < MINUTES:
            continue
        match metric:
            case "requests" if label:
                found.failed[at] += value
                codes[label] += value  # type: ignore[assignment]
            case "requests":
                found.requests[at] += value
            case "records" if label == "written":
                found.records[at] += value
            case "bytes" if label == "sent":
                found.bytes[at] += value
            case "latency" if int(label) < len(found.latency[at]):
                found.latency[at][int(label)] += value
    found.requests = [ok + failed for ok, failed in zip(found.requests, found.failed, strict=True)]
    return found, codes


def topics() -> list[TopicTraffic]:
    """Return the topics with the most requests of the last day, and their requests in each minute and quarter."""
    now = _minute()
    first_minute, first_quarter = now - MINUTES + 1, now // 15 * 15 - 15 * (QUARTERS - 1)
    day = Rollup.objects.filter(step=15, minute__gte=first_quarter).exclude(topic="")
    most = day.filter(metric="requests").order_by().values_list("topic").annotate(total=Sum("value"))
    names = [name for name, _ in most.order_by("-total")[:MOST_TOPICS]]
    found = {name: TopicTraffic(name, hour=[0.0] * MINUTES, day=[0.0] * QUARTERS) for name in names}
    # Summed up by the database, because rows are costly here.
    for topic, minute, value in _requests(15, first_quarter, names):
        found[topic].requests += value
        found[topic].day[min((minute - first_quarter) // 15, QUARTERS - 1)] += value
    for topic, minute, value in _requests(1, first_minute, names):
        found[topic].hour[min(minute - first_minute, MINUTES - 1)] += value
    records = day.filter(metric="records", topic__in=names).order_by().values_list("topic", "label")
    for topic, label, value in records.annotate(total=Sum("value")):
        if label == "written":
            found[topic].written = value
        else:
            found[topic].failed = value
    return list(found.values())


def _requests(step: int, first: int, names: Sequence[str]) -> Iterable[tuple[str, int, float]]:
    rows = Rollup.objects.filter(step=step, minute__gte=first, metric="requests", topic__in=names)
    return rows.order_by().values_list("topic", "minute").annotate(total=Sum("value"))


def _minute() -> int:
    return int(time.time() // 60)
