"""Wait for signals, without handlers that could interrupt anything."""

import os
import select
import signal
from collections.abc import Collection

STOP = {signal.SIGTERM, signal.SIGINT}


class Inbox:
    """The signals among `heeded` that this process receives, in order.

    Whichever thread a signal interrupts, Python only writes its number to a pipe. Database clients have their own
    threads, and a handler that did more could interrupt itself, or whoever holds a lock that it needs.

    Not `signal.sigtimedwait`: after a pause of the process that outlasts its timeout, CPython 3.11 returns a signal
    that nobody has sent.
    """

    def __init__(self, heeded: Collection[signal.Signals]) -> None:
        self._reading, writing = os.pipe()
        for end in (self._reading, writing):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in heeded:
            signal.signal(number, lambda *_: None)

    def next(self, seconds: float | None = None) -> int | None:
        """Return the next signal, or None if none arrives within `seconds`."""
        select.select([self._reading], [], [], seconds)
        try:
            return os.read(self._reading, 1)[0]
        except BlockingIOError:
            return None
