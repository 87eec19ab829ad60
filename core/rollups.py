"""Sum up what happened in each minute and each quarter of an hour, for the dashboard.

Each process adds what its metrics have counted since the last time, so a request costs nothing more.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import structlog
from django.db import close_old_connections
from django.db.models import Sum

from core import reads, rejections
from core.database import statements, transactions
from core.errors import StorageError
from core.metrics import store
from core.metrics.process import observe_parts, observe_process
from core.metrics.store import Key
from core.models import Rollup

log = structlog.get_logger("takhin.background")
TICK_SECONDS = 2.0
# How many ticks are between two sums.
TICKS = 5
# The lengths in minutes, and for how many minutes each is kept.
STEPS = {1: 180, 15: 26 * 60}
# The metrics, by what a sum is called, with the labels that name its topic and its kind. None adds all up.
SUMMED: dict[str, tuple[str, int | None, int | None]] = {
    "takhin_produce_requests_total": ("requests", 0, 3),
    "takhin_records_total": ("records", 0, 1),
    "takhin_body_bytes_total": ("bytes", None, 0),
    "takhin_stored_bytes_total": ("stored", None, 0),
}
LATENCY = "takhin_request_duration_seconds"
PRODUCE = "produce"
_ADD = """
INSERT INTO core_rollup (step, minute, metric, topic, label, value) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (step, metric, topic, minute, label) DO UPDATE SET value = core_rollup.value + excluded.value
"""
# The name of a sum, a topic, and a kind.
Summed = tuple[str, str, str]


class Summer:
    """Adds this process's counts to the sums of all processes."""

    def __init__(self) -> None:
        self._before: dict[Key, list[float]] = {}

    def save(self) -> None:
        """Save what was counted since the last time. Raises StorageUnavailable, OutcomeUnknown."""
        now = store.current.own()
        sums = _sums(now, self._before)
        if sums:
            minute = int(time.time() // 60)
            # In the same order in every process, because rows stay locked until the commit.
            rows = sorted((step, minute // step * step, *key, value) for key, value in sums.items() for step in STEPS)
            transactions.commit(partial(_add, rows))
        self._before = now


def _add(rows: Sequence[tuple[object, ...]]) -> None:
    for row in rows:
        statements.add(_ADD, row)


def _sums(now: dict[Key, list[float]], before: dict[Key, list[float]]) -> dict[Summed, float]:
    found: dict[Summed, float] = {}
    for key, values in now.items():
        name, *labels = key
        earlier = before.get(key) or [0.0] * len(values)
        if name in SUMMED:
            called, topic, kind = SUMMED[name]
            label = "" if kind is None else labels[kind]
            # All topics together have sums of their own, because there may be many.
            for name in {"", "" if topic is None else labels[topic]}:
                found[called, name, label] = found.get((called, name, label), 0.0) + values[0] - earlier[0]
        elif name == LATENCY and labels == [PRODUCE]:
            for bucket in range(len(values) - 1):
                found["latency", "", str(bucket)] = values[bucket] - earlier[bucket]
    return {place: value for place, value in found.items() if value}


def written(topics: Sequence[str]) -> dict[str, int]:
    """Return how many records were written to each of `topics` in the last hour, where any were."""
    first = int(time.time() // 60) - 59
    rows = Rollup.objects.filter(step=1, minute__gte=first, metric="records", topic__in=topics, label="written")
    sums = rows.order_by().values_list("topic").annotate(total=Sum("value"))
    return {topic: int(total) for topic, total in sums}


def purge() -> int:
    """Delete sums that the dashboard no longer shows. Return how many."""
    minute = int(time.time() // 60)
    return transactions.commit(
        lambda: sum(
            Rollup.objects.filter(step=step, minute__lt=minute - kept).delete()[0] for step, kept in STEPS.items()
        )
    )


class Keeper:
    """A thread that saves sums and rejections every few seconds."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._summer = Summer()
        self._ticks = 0

    def start(self) -> None:
        threading.Thread(target=self._run, name="takhin-rollups", daemon=True).start()

    def stop(self) -> None:
        """Save what is left."""
        self._stopping.set()
        self._save([self._summer.save, rejections.current.save, rejections.current.audit, reads.current.audit])

    def _run(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            self._ticks += 1
            observe_process()
            jobs: list[Callable[[], object]] = [observe_parts, rejections.current.save]
            if self._ticks % TICKS == 0:
                jobs.append(self._summer.save)
            if self._ticks % (TICKS * 6) == 0:
                jobs += [rejections.current.audit, reads.current.audit]
            self._save(jobs)
            close_old_connections()

    def _save(self, jobs: Iterable[Callable[[], object]]) -> None:
        for job in jobs:
            try:
                job()
            except StorageError as error:
                log.warning("rollups_put_off", error=str(error))
            except Exception:
                log.exception("rollups_failed")
