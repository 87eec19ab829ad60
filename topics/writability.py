"""Know whether anything can be written now: by the last commit, or by a small one of its own while nobody writes."""

import os
import threading
import time

from topics import commits
from topics.errors import LogUnavailable, StorageDamaged, StorageFull
from topics.models import WriteTrial

# A server that writes nothing notices a full disk within this.
TRUST_SECONDS = 10.0
# While writing fails, it is tried again this often.
AGAIN_SECONDS = 1.0
# 10,000 trials a day write 300 MB with SQLite's journal.
TRIAL_BYTES = 16 * 1024
# A full disk is over when a record of 1 MiB fits, the largest by default: a smaller one may have fitted all the time.
TRIAL_BYTES_WHEN_FULL = 1024 * 1024
# A damaged page does not mend, and what is written here is written to other pages. Only a commit of somebody else's, or
# this much time without a failure, shows that the database serves.
DAMAGED_SECONDS = 60.0

_trying = threading.Lock()
_tried_at = float("-inf")


def check() -> None:
    """Raise LogUnavailable when nothing can be written, with the reason."""
    global _tried_at
    if commits.last.failure is None and time.monotonic() - commits.last.succeeded_at < TRUST_SECONDS:
        return
    with _trying:
        if not _is_damaged() and time.monotonic() - _tried_at >= AGAIN_SECONDS:
            _tried_at = time.monotonic()
            _try(commits.last.failure)
    if commits.last.failure is not None:
        raise commits.last.failure


def _is_damaged() -> bool:
    since = time.monotonic() - commits.last.failed_at
    return isinstance(commits.last.failure, StorageDamaged) and since < DAMAGED_SECONDS


def _try(failure: LogUnavailable | None) -> None:
    size = TRIAL_BYTES_WHEN_FULL if isinstance(failure, StorageFull) else TRIAL_BYTES
    # Random, for PostgreSQL compresses.
    filler = os.urandom(size)
    commits.run(lambda: WriteTrial.objects.create(filler=filler))
    commits.run(lambda: WriteTrial.objects.all().delete())
