"""The metrics of commits."""

from core.metrics import Counter, Histogram
from core.metrics.values import SECONDS

COMMIT_SECONDS = Histogram("takhin_commit_duration_seconds", "Time to run and commit a group of transactions.", SECONDS)
COMMIT_GROUP = Histogram(
    "takhin_commit_group_size", "Transactions that were committed together.", (1, 2, 4, 8, 16, 32, 64, 128, 256)
)
LOCK_SECONDS = Counter(
    "takhin_database_lock_wait_seconds_total", "Time that commits have waited for other processes to unlock SQLite."
)
