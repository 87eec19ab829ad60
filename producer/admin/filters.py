"""Filter the list of produce requests: by indexed columns, and by others among the newest requests only."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import DropdownFilter, RangeDateTimeFilter, TextFilter

from producer.models import ApiKey, IdempotencyKey, ProduceRequest, RequestMode, Status, id_at
from topics.admin.filters import TopicNameFilter

Requests = QuerySet[ProduceRequest]
# Modes and a topic's failures have no index. Reading 100,000 rows takes a tenth of a second.
NEWEST = 100_000
# An X-Request-Id identifies one request, unless its client reuses ids.
MOST_TRACED = 500
# How many API keys a search for an Idempotency-Key tries.
MOST_KEYS = 10_000
SINCE = {"5m": timedelta(minutes=5), "30m": timedelta(minutes=30), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
_HEX = set("0123456789abcdef")


def among_newest(rows: Requests, status: str | None = None) -> Requests:
    """Return the rows that are among the NEWEST requests, or those with this status. Ids sort by time."""
    every = ProduceRequest.objects.filter(status=status) if status else ProduceRequest.objects.all()
    oldest = every.order_by("-id").values_list("id", flat=True)[NEWEST : NEWEST + 1]
    return rows.filter(id__gt=oldest[0]) if oldest else rows


def search(rows: Requests, term: str) -> Requests:
    """Return the requests whose X-Request-Id or Idempotency-Key is `term`, or else those whose id starts with it.

    An id may be in its short form, with an ellipsis, and in capitals.
    """
    # Query one index at a time: in a combined query, SQLite sorts all rows that start with a short term.
    # An id that the server has made is also the request's.
    traced = list(ProduceRequest.objects.filter(http_request_id=term).values_list("pk", flat=True)[:MOST_TRACED])
    key_ids = [0, *ApiKey.objects.values_list("pk", flat=True)[:MOST_KEYS]]
    used = IdempotencyKey.objects.filter(pk__in=[f"{key_id}:{term}" for key_id in key_ids])
    traced += used.values_list("request_id", flat=True)
    digits, _, end = term.lower().removeprefix("req_").replace("...", "…").partition("…")
    if traced or not set(digits + end) <= _HEX:
        return rows.filter(pk__in=traced)
    # "g" sorts after every hexadecimal digit.
    found = rows.filter(id__gte=f"req_{digits}", id__lt=f"req_{digits}g")
    return found.filter(id__endswith=end) if end else found


# Every filter is a field of one form, so that they combine.
class StatusFilter(DropdownFilter):  # type: ignore[misc]
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(status.value, str(status.label)) for status in Status]

    def queryset(self, request: HttpRequest, queryset: Requests) -> Requests:
        return queryset.filter(status=self.value()) if self.value() else queryset


class ModeFilter(DropdownFilter):  # type: ignore[misc]
    title = f"mode (newest {NEWEST:,} only)"
    parameter_name = "mode"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(mode.value, str(mode.label)) for mode in RequestMode]

    def queryset(self, request: HttpRequest, queryset: Requests) -> Requests:
        if not self.value():
            return queryset
        return among_newest(queryset.filter(mode=self.value()), request.GET.get("status"))


class CodeFilter(TextFilter):  # type: ignore[misc]
    title = f"error code (newest {NEWEST:,} only)"
    parameter_name = "code"

    def queryset(self, request: HttpRequest, queryset: Requests) -> Requests:
        if not self.value():
            return queryset
        return among_newest(queryset.filter(code=self.value().strip()), request.GET.get("status"))


class RequestTopicFilter(TopicNameFilter):
    title = f"topic (with a status: newest {NEWEST:,} only)"
    lookup = "topic"

    def queryset(self, request: HttpRequest, queryset: Requests) -> Requests:
        rows = super().queryset(request, queryset)
        status = request.GET.get("status")
        return among_newest(rows, status) if self.value() and status else rows


class SinceFilter(DropdownFilter):  # type: ignore[misc]
    title = "age"
    parameter_name = "since"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("5m", "5 minutes"), ("30m", "30 minutes"), ("1h", "1 hour"), ("1d", "1 day")]

    def queryset(self, request: HttpRequest, queryset: Requests) -> Requests:
        age = SINCE.get(self.value() or "")
        return queryset if age is None else queryset.filter(id__gte=id_at(timezone.now() - age))


class CreatedFilter(RangeDateTimeFilter):  # type: ignore[misc]
    """Filter by a range of ids, because the time column has no index."""

    def queryset(self, request: HttpRequest, queryset: Requests) -> Requests:
        first = self._moment("from", "00:00:00")
        last = self._moment("to", "23:59:59")
        if first is not None:
            queryset = queryset.filter(id__gte=id_at(first))
        return queryset if last is None else queryset.filter(id__lt=id_at(last + timedelta(seconds=1)))

    def _moment(self, end: str, default_time: str) -> datetime | None:
        day = self.used_parameters.get(f"created_at_{end}_0") or ""
        time = self.used_parameters.get(f"created_at_{end}_1") or default_time
        try:
            found = datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=UTC)
        except ValueError:
            return None
        # Ids store the milliseconds since 1970 in twelve hexadecimal digits.
        return found if 1970 <= found.year <= 9000 else None
