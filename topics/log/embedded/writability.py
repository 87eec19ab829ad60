"""Tell whether the database is writable, from the last commit or, if that was long ago, from a small test write."""

import os
import threading
import time

from core.database import transactions
from core.errors import StorageDamaged, StorageFull, StorageUnavailable
from topics.models import WriteTrial

# An idle server notices a full disk within this time.
TRUST_SECONDS = 10.0
# The interval between test writes while writing fails.
AGAIN_SECONDS = 1.0
# 10,000 test writes a day write 300 MB, including SQLite's journal.
TRIAL_BYTES = 16 * 1024
# The disk is no longer full when the largest record by default, 1 MiB, fits: a smaller one may have fit all along.
TRIAL_BYTES_WHEN_FULL = 1024 * 1024
# A damaged page stays damaged, and test writes go to other pages. Only a real commit, or this much time without a
# failure, shows that the database works again.
DAMAGED_SECONDS = 60.0

_trying = threading.Lock()
_tried_at = float("-inf")


def check() -> None:
    """Raise StorageUnavailable with the reason if the database is not writable."""
    global _tried_at
    if (
        transactions.last_commit.failure is None
        and time.monotonic() - transactions.last_commit.succeeded_at < TRUST_SECONDS
    ):
        return
    with _trying:
        if not _is_damaged() and time.monotonic() - _tried_at >= AGAIN_SECONDS:
            _tried_at = time.monotonic()
            _try(transactions.last_commit.failure)
    if transactions.last_commit.failure is not None:
        raise transactions.last_commit.failure


def _is_damaged() -> bool:
    since = time.monotonic() - transactions.last_commit.failed_at
    return isinstance(transactions.last_commit.failure, StorageDamaged) and since < DAMAGED_SECONDS


def _try(failure: StorageUnavailable | None) -> None:
    size = TRIAL_BYTES_WHEN_FULL if isinstance(failure, StorageFull) else TRIAL_BYTES
    # Random bytes, because PostgreSQL compresses.
    filler = os.urandom(size)
    transactions.commit(lambda: WriteTrial.objects.create(filler=filler))
    transactions.commit(lambda: WriteTrial.objects.all().delete())
