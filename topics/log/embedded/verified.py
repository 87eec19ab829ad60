"""Keep the large batches that were read last, so that a client that reads one in small steps has it verified once."""

import threading
from collections import OrderedDict
from collections.abc import Hashable

from topics.log.validation import MAX_READ_BYTES

# A smaller batch is loaded and verified in less time than its query takes, and there would be room for too many.
LEAST_BYTES = 16 * 1024


class VerifiedBatches:
    """Payloads by what identifies a batch, which never changes. They take as much memory as one read may."""

    def __init__(self, most_bytes: int = MAX_READ_BYTES) -> None:
        self._lock = threading.Lock()
        self._payloads: OrderedDict[Hashable, bytes] = OrderedDict()
        self._room = most_bytes

    def get(self, identity: Hashable) -> bytes | None:
        with self._lock:
            found = self._payloads.get(identity)
            if found is not None:
                self._payloads.move_to_end(identity)
        return found

    def add(self, identity: Hashable, payload: bytes) -> None:
        if len(payload) < LEAST_BYTES:
            return
        with self._lock:
            self._room += len(self._payloads.pop(identity, b"")) - len(payload)
            self._payloads[identity] = payload
            while self._room < 0:
                _, dropped = self._payloads.popitem(last=False)
                self._room += len(dropped)
