"""Limit how many requests parse and compare large schemas at a time, so that they do not starve other requests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import StorageUnavailable

# Parsing and comparing this many characters takes about a tenth of a second.
LIGHT_CHARACTERS = 64 * 1024
# Pure Python work holds the interpreter lock: running two at once would only slow down both.
ADMITTED = 4
SECONDS = 10.0
_admitted = threading.BoundedSemaphore(ADMITTED)
_turn = threading.Lock()


@contextmanager
def admit(characters: int) -> Iterator[None]:
    """Run a block that works on this many characters of schemas. Large ones take turns. Raises StorageUnavailable."""
    if characters <= LIGHT_CHARACTERS:
        yield
        return
    if not _admitted.acquire(blocking=False):
        raise StorageUnavailable(f"{ADMITTED} large schemas are already being processed")
    try:
        if not _turn.acquire(timeout=SECONDS):
            raise StorageUnavailable(f"another large schema took longer than {SECONDS:g} seconds")
        try:
            yield
        finally:
            _turn.release()
    finally:
        _admitted.release()
