"""Apply the quotas of API keys, and report them in the headers of draft-ietf-httpapi-ratelimit-headers-10.

All processes share them through the database. A key without quotas costs nothing.
"""

import math
import threading
import time
from collections.abc import Sequence

from django.db import transaction

from core import lane
from core.database import transactions
from core.database.statements import is_sqlite
from producer.errors import QuotaExceeded
from producer.measures import QUOTA_REJECTIONS
from producer.models import ApiKey
from producer.models.quotas import QUOTAS, WINDOW_SECONDS, Allowance, Quota, spend

# Bounds the memory for keys that have used up their quotas.
MOST_REMEMBERED = 10_000


class _UsedUp:
    """The keys that have used up a quota, and until when: they must not cost a transaction per request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[int, tuple[float, Sequence[Allowance]]] = {}

    def remember(self, key: ApiKey, allowances: Sequence[Allowance], seconds: float) -> None:
        with self._lock:
            if len(self._until) >= MOST_REMEMBERED:
                self._until.clear()
            # Not for long, because an operator may raise the quota.
            self._until[key.pk] = (time.monotonic() + min(seconds, WINDOW_SECONDS), allowances)

    def find(self, key: ApiKey) -> Sequence[Allowance] | None:
        found = self._until.get(key.pk)
        if found is None or found[0] <= time.monotonic():
            return None
        return found[1]


_used_up = _UsedUp()


def check(key: ApiKey | None) -> None:
    """Reject a request whose key has used up a quota a moment ago, before its body is read. Raises QuotaExceeded."""
    if key is not None and (allowances := _used_up.find(key)) is not None:
        raise _exceeded(allowances)


def take(key: ApiKey | None, records: int, size: int) -> dict[str, str]:
    """Count a request with this many records and bytes. Return the headers of its response.

    Raises QuotaExceeded, StorageUnavailable.
    """
    limits = {} if key is None else {quota: limit for quota in QUOTAS if (limit := quota.limit(key))}
    if key is None or not limits:
        return {}
    allowances, is_taken = _spend(key, limits, {"requests": 1, "records": records, "bytes": size})
    if not is_taken:
        _used_up.remember(key, allowances, max(one.seconds for one in allowances if one.left <= 0))
        raise _exceeded(allowances)
    return _headers(allowances)


def _spend(key: ApiKey, limits: dict[Quota, int], costs: dict[str, int]) -> tuple[list[Allowance], bool]:
    if is_sqlite():
        return transactions.commit(lambda: spend(key, limits, costs))
    # In a transaction of its own: with others, it would lock rows in any order.
    lane.leave()
    with transactions.translated(), transaction.atomic():
        return spend(key, limits, costs)


def _exceeded(allowances: Sequence[Allowance]) -> QuotaExceeded:
    worst = max((one for one in allowances if one.left <= 0), key=lambda one: one.seconds)
    QUOTA_REJECTIONS.add(worst.quota.name)
    seconds = max(1, math.ceil(worst.seconds))
    return QuotaExceeded(worst.quota.name, worst.limit, {**_headers(allowances), "Retry-After": str(seconds)})


def _headers(allowances: Sequence[Allowance]) -> dict[str, str]:
    policies = (
        f'"{one.quota.name}";q={one.limit};w={WINDOW_SECONDS}' + (f';qu="{one.quota.unit}"' if one.quota.unit else "")
        for one in allowances
    )
    left = (f'"{one.quota.name}";r={max(0, one.left)};t={max(0, math.ceil(one.seconds))}' for one in allowances)
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(left)}
