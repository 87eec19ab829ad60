"""The turn of a large request. The server lets one at a time use the CPU, until it waits for something else."""

import threading
from collections.abc import Callable

_here = threading.local()


def begin(ended: Callable[[], object]) -> None:
    """Have `ended` called once this thread's request waits for something, or is done."""
    _here.ended = ended


def end() -> None:
    """Let the next large request go on. Call this before waiting for a commit or for another server."""
    ended = getattr(_here, "ended", None)
    if ended is not None:
        _here.ended = None
        ended()
