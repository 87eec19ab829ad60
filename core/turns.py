"""The turn of a large request. The server lets one at a time use the CPU, until it waits for something else."""

import threading
import time
from collections.abc import Callable

# How long the server waits for a thread at most, apart from a single step that takes longer.
STRETCH_SECONDS = 0.001


class _Here(threading.local):
    # To find no attribute takes seven times as long as to find this.
    ended: Callable[[], object] | None = None
    give_way: Callable[[], object]
    since: float


_here = _Here()


def begin(ended: Callable[[], object], give_way: Callable[[], object]) -> None:
    """Have `ended` called once this thread's request waits for something, or is done, and `give_way` before that."""
    _here.ended, _here.give_way, _here.since = ended, give_way, time.monotonic()


def give_way() -> None:
    """Let the server answer probes and reject requests, which wait while this thread has the interpreter.

    Call this after a step that may take milliseconds. Only a thread whose turn it is waits, and only now and then.
    """
    if _here.ended is not None and time.monotonic() - _here.since > STRETCH_SECONDS:
        _here.give_way()
        _here.since = time.monotonic()


def end() -> None:
    """Let the next large request go on. Call this before waiting for a commit or for another server."""
    ended = _here.ended
    if ended is not None:
        _here.ended = None
        ended()
