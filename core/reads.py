"""Count reads of records through the API for the audit log: an entry for each would make every read a write."""

import threading
from collections.abc import Sequence

import msgspec

from core import audit

# How many combinations of reader and topic are told apart in a minute.
MOST_COUNTED = 1000


class Read(msgspec.Struct):
    """What one client has read of one topic: the first and the last offset by partition."""

    count: int = 0
    offsets: dict[str, list[int]] = {}


class Reads:
    """What the clients of this process have read since the last `audit`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: dict[tuple[audit.Actor, str], Read] = {}

    def note(self, topic: str, places: Sequence[tuple[int, int]]) -> None:
        """Note that the client of the current request has read records at these partitions and offsets, in order."""
        firsts, lasts = dict(reversed(places)), dict(places)
        place = msgspec.structs.replace(audit.actor(), request_id=""), topic
        with self._lock:
            if place not in self._counted and len(self._counted) >= MOST_COUNTED:
                place = audit.Actor("others"), topic
            read = self._counted.setdefault(place, Read())
            read.count += len(places)
            for partition, last in lasts.items():
                known = read.offsets.get(str(partition), [last])
                read.offsets[str(partition)] = [min(known[0], firsts[partition]), max(known[-1], last)]

    def audit(self) -> None:
        """Note in the audit log what was read since the last time."""
        with self._lock:
            counted, self._counted = self._counted, {}
        for (by, topic), read in counted.items():
            if read.count:
                audit.note("payload_viewed", "topic", topic, by=by, records=read.count, offsets=read.offsets)


# This process's.
current = Reads()
