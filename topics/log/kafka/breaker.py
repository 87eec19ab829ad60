"""Stop sending to a cluster that does not answer, and to partitions that do not acknowledge records."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection

import msgspec

from core.errors import StorageUnavailable
from topics.log.kafka.administration import PartitionKey

# The cluster cannot be away if it has acknowledged records within this time.
ACKNOWLEDGED_SECONDS = 3.0
# An error that comes sooner than this proves little, unless there are several in a row.
QUICK_SECONDS = 1.0
MOST_QUICK = 5
# The longest pause between two attempts to write to a partition.
MOST_PAUSE_SECONDS = 30.0


class Breaker:
    """Open while the cluster does not answer: requests are then rejected immediately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._opened_at: float | None = None
        self._acknowledged_at = -ACKNOWLEDGED_SECONDS

    @property
    def is_open(self) -> bool:
        return self._opened_at is not None

    @property
    def seconds(self) -> int:
        """How long it has been open."""
        opened_at = self._opened_at
        return 0 if opened_at is None else int(self._clock() - opened_at)

    def acknowledged(self) -> None:
        """Note an acknowledged record."""
        self._acknowledged_at = self._clock()
        self._opened_at = None

    def unreachable(self) -> None:
        """Note that the cluster did not answer."""
        now = self._clock()
        if self._opened_at is None and now - self._acknowledged_at >= ACKNOWLEDGED_SECONDS:
            self._opened_at = now

    def reachable(self) -> None:
        """Note that the cluster answered."""
        self._opened_at = None


class _Failing(msgspec.Struct):
    """A partition that has stopped acknowledging records.

    Its breaker has opened `pauses` times, for the last time at `opened_at`. A trial may follow at `until`.
    """

    since: float
    failures: int = 0
    pauses: int = 0
    opened_at: float = 0.0
    until: float = 0.0


class PartitionBreakers:
    """One breaker for each partition that has not acknowledged records in time.

    An open one rejects writes for 1, 2, 4, up to MOST_PAUSE_SECONDS. Then it admits one trial, whose success closes it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failing: dict[PartitionKey, _Failing] = {}

    @property
    def open_count(self) -> int:
        """How many are open."""
        now = self._clock()
        return sum(now < found.until for found in list(self._failing.values()))

    def is_failing(self, place: PartitionKey) -> bool:
        """Whether the partition's last write failed."""
        return place in self._failing

    def error(self, place: PartitionKey) -> StorageUnavailable | None:
        """Return why the partition must be left alone now, or None."""
        found = self._failing.get(place)
        return _error(place, found, self._clock()) if found is not None and self._clock() < found.until else None

    def admit(self, place: PartitionKey, seconds: float) -> StorageUnavailable | None:
        """Return why nothing may be written now, or None. A trial keeps others out for `seconds`."""
        if place not in self._failing:
            return None
        with self._lock:
            found = self._failing.get(place)
            now = self._clock()
            if found is None:
                return None
            if now < found.until:
                return _error(place, found, now)
            found.until = now + seconds
            return None

    def failed(self, place: PartitionKey, sent_at: float) -> None:
        """Note that records sent at that time were not acknowledged in time."""
        with self._lock:
            now = self._clock()
            found = self._failing.setdefault(place, _Failing(sent_at))
            if sent_at < found.opened_at:
                return
            found.failures += 1
            if found.pauses == 0 and now - sent_at < QUICK_SECONDS and found.failures < MOST_QUICK:
                return
            found.opened_at = now
            found.until = now + min(2.0**found.pauses, MOST_PAUSE_SECONDS)
            found.pauses += 1

    def succeeded(self, place: PartitionKey) -> None:
        """Note an acknowledged record."""
        self._failing.pop(place, None)


def _error(place: PartitionKey, found: _Failing, now: float) -> StorageUnavailable:
    seconds = max(1, int(now - found.since))
    return StorageUnavailable(
        f"partition {place[1]} of topic {place[0]!r} has not acknowledged records for {seconds} seconds"
    )


class ThreadShare:
    """Limits how many threads wait for the same partition, so that others remain for everything else."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._waiting: Counter[PartitionKey] = Counter()

    def is_used_up(self, place: PartitionKey) -> bool:
        return self._waiting[place] >= self._most

    def enter(self, places: Collection[PartitionKey]) -> bool:
        """Take part in each partition's share. Return False if one of them is used up."""
        with self._lock:
            if any(map(self.is_used_up, places)):
                return False
            self._waiting.update(places)
            return True

    def leave(self, places: Collection[PartitionKey]) -> None:
        with self._lock:
            self._waiting.subtract(places)
            for place in places:
                if not self._waiting[place]:
                    del self._waiting[place]
