"""Reject produce requests that the server has no room for, before their bodies are parsed."""

import threading
import time
from typing import NamedTuple

from django.conf import settings
from django.db.models import Count, Sum
from django.db.models.functions import Length
from django.http import HttpRequest

from core import lane
from core.database import disk, transactions
from producer.errors import Overloaded
from producer.models import ApiKey, ProduceRequest
from topics.log import current_log

FRESH_SECONDS = 1.0
# Counting takes longer the more is pending. It may take this share of the time.
MOST_OF_TIME = 0.05


class _Pending(NamedTuple):
    rows: int = 0
    size: int = 0


class _Backlog:
    """The pending requests of each key, as of the last count, and what this process has accepted since."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._fresh_until = 0.0
        self._by_key: dict[int | None, _Pending] = {}

    def check(self, key_id: int | None, size: int) -> None:
        """Raises Overloaded."""
        if time.monotonic() >= self._fresh_until:
            lane.leave()
            self._count()
        mine = self._by_key.get(key_id, _Pending())
        rows, total = (sum(column) for column in zip(*self._by_key.values(), strict=True)) if self._by_key else (0, 0)
        _check("TAKHIN_MAX_PENDING", rows + 1, "requests are pending")
        _check("TAKHIN_MAX_PENDING_BYTES", total + size, "bytes are pending")
        if key_id is not None:
            _check("TAKHIN_MAX_PENDING_PER_KEY", mine.rows + 1, "requests of this API key are pending")
            _check("TAKHIN_MAX_PENDING_BYTES_PER_KEY", mine.size + size, "bytes of this API key are pending")

    def add(self, key_id: int | None, size: int) -> None:
        with self._lock:
            mine = self._by_key.get(key_id, _Pending())
            self._by_key[key_id] = _Pending(mine.rows + 1, mine.size + size)

    def _count(self) -> None:
        if not self._counting.acquire(blocking=False):
            return
        try:
            began = time.monotonic()
            pending = ProduceRequest.objects.pending().order_by().values_list("api_key_id")
            with transactions.translated():
                rows = list(pending.annotate(rows=Count("pk"), size=Sum(Length("body"))))
            now = time.monotonic()
            with self._lock:
                self._by_key = {key_id: _Pending(count, size or 0) for key_id, count, size in rows}
            self._fresh_until = now + max(FRESH_SECONDS, (now - began) / MOST_OF_TIME)
        finally:
            self._counting.release()

    def forget(self) -> None:
        self._fresh_until = 0.0


def _check(setting: str, wanted: int, what: str) -> None:
    most = getattr(settings, setting)
    if wanted > most:
        raise Overloaded(f"too many {what}; the limit is {most} ({setting})")


_backlog = _Backlog()


def check(request: HttpRequest, api_key: ApiKey | None, *, is_queued: bool) -> None:
    """Reject a request that there is no room for.

    `is_queued` tells whether it would become a pending request. Raises Overloaded, StorageUnavailable.
    """
    if is_queued or current_log().supports_transactions:
        check_disk()
    if is_queued:
        declared = request.META.get("CONTENT_LENGTH") or ""
        _backlog.check(None if api_key is None else api_key.pk, int(declared) if declared.isdecimal() else 0)


def accepted(api_key: ApiKey | None, size: int) -> None:
    """Count a request that has become pending."""
    _backlog.add(None if api_key is None else api_key.pk, size)


def check_disk() -> None:
    """Raise Overloaded if the disk of the database has too little space left."""
    if (reason := disk.trouble()) is not None:
        raise Overloaded(reason)


def forget() -> None:
    """Look again at the next request. Tests call this between databases."""
    _backlog.forget()
    disk.forget()
