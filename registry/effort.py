"""Let few requests at a time parse and compare large schemas, so that all others keep their threads and their turns."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from topics.errors import LogUnavailable

# Parsing and comparing this many characters takes about a tenth of a second.
LIGHT_CHARACTERS = 64 * 1024
# Pure Python work shares one interpreter: a second one at the same time would only slow down the first.
ADMITTED = 4
SECONDS = 10.0
_admitted = threading.BoundedSemaphore(ADMITTED)
_turn = threading.Lock()


@contextmanager
def on(characters: int) -> Iterator[None]:
    """Work on schemas of so many characters; a large one waits for its turn. Raises LogUnavailable."""
    if characters <= LIGHT_CHARACTERS:
        yield
        return
    if not _admitted.acquire(blocking=False):
        raise LogUnavailable(f"{ADMITTED} large schemas are being worked on")
    try:
        if not _turn.acquire(timeout=SECONDS):
            raise LogUnavailable(f"another large schema took more than {SECONDS:g} seconds")
        try:
            yield
        finally:
            _turn.release()
    finally:
        _admitted.release()
