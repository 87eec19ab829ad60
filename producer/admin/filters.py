"""Narrow the list of produce requests by what an index answers, and by the rest among the newest alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import RangeDateTimeFilter

from producer.models import Mode, ProduceRequest, Status, id_at
from topics.admin import TopicNameFilter

Requests = QuerySet[ProduceRequest]
# No index leads to a mode, or to a topic's failures: 100,000 rows are read in a tenth of a second.
NEWEST = 100_000
# One X-Request-Id names one request, unless its client repeats itself.
MOST_TRACED = 500
SINCE = {"5m": timedelta(minutes=5), "30m": timedelta(minutes=30), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
_HEX = set("0123456789abcdef")


def among_newest(rows: Requests) -> Requests:
    """Only those of the NEWEST requests; ids sort by time."""
    oldest = ProduceRequest.objects.order_by("-id").values_list("id", flat=True)[NEWEST : NEWEST + 1]
    return rows.filter(id__gt=oldest[0]) if oldest else rows


def search(rows: Requests, term: str) -> Requests:
    """Those that came with `term` as their X-Request-Id; else those whose id is or begins with it."""
    # One index at a time: asked for both at once, SQLite sorts all that begin with a short term.
    traced = list(ProduceRequest.objects.filter(http_request_id=term).values_list("pk", flat=True)[:MOST_TRACED])
    digits = term.removeprefix("req_").lower()
    if traced or not set(digits) <= _HEX:
        return rows.filter(pk__in=traced)
    # Hexadecimal digits end before g.
    return rows.filter(id__gte=f"req_{digits}", id__lt=f"req_{digits}g")


class StatusFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(status.value, str(status.label)) for status in Status]

    def queryset(self, request: HttpRequest, queryset: Requests) -> Requests:
        return queryset.filter(status=self.value()) if self.value() else queryset


class ModeFilter(admin.SimpleListFilter):
    title = f"mode (newest {NEWEST:,} only)"
    parameter_name = "mode"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(mode.value, str(mode.label)) for mode in Mode]

    def queryset(self, request: HttpRequest, queryset: Requests) -> Requests:
        return among_newest(queryset.filter(mode=self.value())) if self.value() else queryset


class RequestTopicFilter(TopicNameFilter):
    title = f"topic (with a status: newest {NEWEST:,} only)"
    lookup = "topic"

    def queryset(self, request: HttpRequest, queryset: Requests) -> Requests:
        rows = super().queryset(request, queryset)
        return among_newest(rows) if self.value() and request.GET.get("status") else rows


class SinceFilter(admin.SimpleListFilter):
    title = "age"
    parameter_name = "since"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("5m", "5 minutes"), ("30m", "30 minutes"), ("1h", "1 hour"), ("1d", "1 day")]

    def queryset(self, request: HttpRequest, queryset: Requests) -> Requests:
        age = SINCE.get(self.value() or "")
        return queryset if age is None else queryset.filter(id__gte=id_at(timezone.now() - age))


class CreatedFilter(RangeDateTimeFilter):  # type: ignore[misc]
    """A time range as a range of ids, for the column itself has no index."""

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
        # Ids hold the milliseconds since 1970 in twelve digits.
        return found if 1970 <= found.year <= 9000 else None
