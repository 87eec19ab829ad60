"""How much each API key may send per second, and how much of that it has used."""

import math
import time
from typing import ClassVar

import msgspec
from django.conf import settings
from django.db import connection, models

from core.database import statements
from producer.models.keys import ApiKey

WINDOW_SECONDS = 1


class Quota(msgspec.Struct, frozen=True):
    """A limit per second. `unit` is that of the RateLimit-Policy header, if it is not requests."""

    name: str
    column: str
    setting: str
    unit: str = ""

    def limit(self, key: ApiKey) -> int:
        """Return the key's limit; 0 is unlimited."""
        own: int | None = getattr(key, self.column)
        default: int = getattr(settings, self.setting)
        return default if own is None else own


QUOTAS = (
    Quota("requests", "requests_per_second", "TAKHIN_REQUESTS_PER_SECOND"),
    Quota("records", "records_per_second", "TAKHIN_RECORDS_PER_SECOND", "records"),
    Quota("bytes", "bytes_per_second", "TAKHIN_BYTES_PER_SECOND", "content-bytes"),
)


class Allowance(msgspec.Struct, frozen=True):
    """What is left of a quota, and in how many seconds it is renewed. Negative if the last request took more."""

    quota: Quota
    limit: int
    left: int
    seconds: float


class QuotaUse(models.Model):
    """What an API key has used of its quotas since `started_at`, in seconds of the database's clock.

    A request may take more than is left. The next windows then start with that debt.
    """

    api_key = models.OneToOneField(ApiKey, models.CASCADE, primary_key=True)
    started_at = models.FloatField(default=0)
    requests = models.BigIntegerField(default=0)
    records = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)

    objects: ClassVar[models.Manager["QuotaUse"]] = models.Manager()

    def __str__(self) -> str:
        return f"quotas of {self.api_key}"

    def begin_window(self, limits: dict[Quota, int], now: float) -> None:
        """Begin a new window if the current one has passed."""
        passed = now - self.started_at
        if 0 <= passed < WINDOW_SECONDS:
            return
        # If the clock was set back, one window has passed.
        windows = max(1, math.floor(passed / WINDOW_SECONDS))
        for quota, limit in limits.items():
            setattr(self, quota.name, max(0, getattr(self, quota.name) - limit * windows))
        has_debt = passed > 0 and any(getattr(self, quota.name) for quota in limits)
        self.started_at = self.started_at + windows * WINDOW_SECONDS if has_debt else now

    def allowance(self, quota: Quota, limit: int, now: float) -> Allowance:
        used: int = getattr(self, quota.name)
        seconds = self.started_at + WINDOW_SECONDS - now + (used // limit - 1) * WINDOW_SECONDS * (used > limit)
        return Allowance(quota, limit, limit - used, seconds)


def spend(key: ApiKey, limits: dict[Quota, int], costs: dict[str, int]) -> tuple[list[Allowance], bool]:
    """Take the costs out of a key's quotas, unless one is used up. Return what is left, and whether they were taken.

    Run it in a transaction.
    """
    found = QuotaUse.objects.select_for_update().filter(pk=key.pk).first()
    use, now = found or QuotaUse(api_key=key), _now()
    use.begin_window(limits, now)
    left = [use.allowance(quota, limit, now) for quota, limit in limits.items()]
    if any(allowance.left <= 0 for allowance in left):
        return left, False
    for quota in limits:
        setattr(use, quota.name, getattr(use, quota.name) + costs[quota.name])
    if found is None:
        # Another process may do the same at the same moment.
        QuotaUse.objects.bulk_create([use], update_conflicts=True, unique_fields=["api_key"], update_fields=_COLUMNS)
    else:
        use.save(update_fields=_COLUMNS)
    return [use.allowance(quota, limit, now) for quota, limit in limits.items()], True


_COLUMNS = ["started_at", *(quota.name for quota in QUOTAS)]


def _now() -> float:
    """Return the database's clock in seconds. With SQLite it is this process's, which runs on the same machine."""
    if statements.is_sqlite():
        return time.time()
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXTRACT(EPOCH FROM clock_timestamp())")
        return float(cursor.fetchone()[0])
