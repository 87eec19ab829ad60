"""Count wrong keys and passwords per address, so that guessing does not load the database."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from django.conf import settings

WINDOW_SECONDS = 60.0
# An entry takes about 250 bytes, so this is 2.5 MB at most. The addresses that guessed longest ago are evicted first.
MOST_ADDRESSES = 10_000
# A user may try 5 passwords an hour from one address (AXES_FAILURE_LIMIT). This bounds an address that tries many
# users: each attempt costs half a second of hashing, and a row that is kept for an hour.
LOGINS_PER_MINUTE = 20


class Guesses:
    """Counts the wrong guesses of each address within a minute, in this process.

    `most` returns how many an address may make; 0 means no limit.
    """

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        self._lock = threading.Lock()
        # Address -> (end of its minute, guesses so far).
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait(self, address: str) -> float:
        """Return the seconds until the address may guess again; 0 if it may now."""
        end, count = self._counts.get(address, (0.0, 0))
        return max(0.0, end - time.monotonic()) if 0 < self._most() <= count else 0.0

    def count(self, address: str) -> bool:
        """Count one wrong guess. Return whether it was the last one that the address may make for now."""
        with self._lock:
            end, count = self._counts.pop(address, (0.0, 0))
            if end <= time.monotonic():
                end, count = time.monotonic() + WINDOW_SECONDS, 0
            self._counts[address] = (end, count + 1)
            if len(self._counts) > MOST_ADDRESSES:
                self._counts.popitem(last=False)
        return count + 1 == self._most()

    def forget(self) -> None:
        self._counts.clear()


keys = Guesses(lambda: settings.TAKHIN_WRONG_KEYS_PER_MINUTE)
logins = Guesses(lambda: LOGINS_PER_MINUTE)


def forget() -> None:
    """Clear all counters. Tests call this between databases."""
    keys.forget()
    logins.forget()
