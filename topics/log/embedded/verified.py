"""Keep the large batches that were read last, so that a client that reads one in small steps has it verified once."""

import threading
from collections import OrderedDict
from collections.abc import Hashable

from topics.log.batches import Intact
from topics.log.validation import MAX_READ_BYTES

# A smaller batch takes less time to load and verify than the queries before.
LEAST_BYTES = 4 * 1024


class VerifiedBatches:
    """Batches by what identifies them. They take as much memory as one read may. No batch ever changes."""

    def __init__(self, most_bytes: int = MAX_READ_BYTES) -> None:
        self._lock = threading.Lock()
        self._batches: OrderedDict[Hashable, Intact] = OrderedDict()
        self._room = most_bytes

    def get(self, identity: Hashable) -> Intact | None:
        with self._lock:
            found = self._batches.get(identity)
            if found is not None:
                self._batches.move_to_end(identity)
        return found

    def add(self, identity: Hashable, batch: Intact) -> None:
        with self._lock:
            if identity in self._batches:
                return
            self._batches[identity] = batch
            self._room -= batch.size
            while self._room < 0:
                _, dropped = self._batches.popitem(last=False)
                self._room += dropped.size
