"""The dashboard: the first page of the admin."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from core.errors import StorageError
from core.formatting import length
from producer.admin import traffic
from producer.models import ProduceRequest, RequestMode, Status
from producer.queue import backlog, checkup
from topics.log import current_log

GREEN, RED, BLUE, GREY = "#16a34a", "#dc2626", "#2563eb", "#6b7280"
MOST_CODES = 8
# More failures than this are as bad.
MOST_COUNTED = 1000
SPARK_WIDTH, SPARK_HEIGHT = 120, 24


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add what the admin's index shows."""
    return context | {"title": "Dashboard"} | _shown(request)


@require_safe
def part(request: HttpRequest) -> HttpResponse:
    """Return the part of the page that refreshes itself."""
    return TemplateResponse(request, "producer/dashboard.html", _shown(request))


def _shown(request: HttpRequest) -> dict[str, Any]:
    if not request.user.has_perm("producer.view_producerequest"):
        return {"is_allowed": False}
    shown: dict[str, Any] = {"is_allowed": True, "problems": list(_problems())}
    try:
        series, codes = traffic.hour()
        shown |= {
            "cards": [*_rates(series), *_queue_cards()],
            "charts": _charts(series),
            "codes": [(code, int(count), _rejections(code)) for code, count in codes.most_common(MOST_CODES)],
            "topics": [_topic(one) for one in traffic.topics()],
            "most_topics": traffic.MOST_TOPICS,
            "topic_count": f"{len(current_log().topic_names()):,}",
        }
    except StorageError as error:
        shown["problems"] += [("log", str(error))]
    return shown


def _problems() -> Iterator[tuple[str, str]]:
    """Yield the problems that /api/health reports: the conditions of the alerts that need no history."""
    for check, reason in checkup.current.reasons().items():
        if reason:
            yield check, reason


def _rates(series: traffic.Series) -> list[dict[str, str]]:
    p50, p99 = (series.percentile(share) for share in (0.5, 0.99))
    return [
        _card("Requests per second", f"{series.rate(series.requests):,.1f}"),
        _card("Records per second", f"{series.rate(series.records):,.1f}"),
        _card("Received per second", filesizeformat(series.rate(series.bytes))),
        _card("Failed requests, last hour", f"{int(sum(series.failed)):,}", is_bad=sum(series.failed) > 0),
        _card("Half respond within", _milliseconds(p50)),
        _card("99 of 100 respond within", _milliseconds(p99)),
    ]


def _queue_cards() -> list[dict[str, str]]:
    found = backlog.now()
    address = reverse("admin:producer_producerequest_changelist")
    waits = f" (oldest {length(timedelta(seconds=int(found.oldest.total_seconds())))})" if found.pending else ""
    is_late = found.pending > 0 and not found.workers
    return [
        _card(f"Pending{waits}", f"{found.pending:,}", f"{address}?status=pending", is_bad=is_late),
        _card("Workers", f"{found.workers:,}", is_bad=is_late),
        *(_failures(status) for status in (Status.FAILED, Status.PARTIAL)),
    ]


def _failures(status: Status) -> dict[str, str]:
    count = ProduceRequest.objects.filter(status=status, mode=RequestMode.ASYNC)[: MOST_COUNTED + 1].count()
    shown = f"{MOST_COUNTED:,}+" if count > MOST_COUNTED else f"{count:,}"
    return _card(f"{status.label}, async", shown, reverse("admin:producer_failures"), is_bad=count > 0)


def _card(title: str, value: str, address: str = "", *, is_bad: bool = False) -> dict[str, Any]:
    return {"title": title, "value": value, "address": address, "is_bad": is_bad}


def _milliseconds(seconds: float | None) -> str:
    return "none" if seconds is None else f"{seconds * 1000:,.1f} ms"


def _charts(series: traffic.Series) -> list[dict[str, Any]]:
    ok = [total - failed for total, failed in zip(series.requests, series.failed, strict=True)]
    return [
        _chart("Requests per minute", "bar", [("succeeded", ok, GREEN), ("failed", series.failed, RED)]),
        _chart("Records written per minute", "line", [("records", series.records, BLUE)]),
        _chart(
            "Response time of produce requests (ms)",
            "line",
            [("half", series.percentiles(0.5), GREY), ("99 of 100", series.percentiles(0.99), BLUE)],
        ),
    ]


def _chart(title: str, kind: str, lines: Sequence[tuple[str, Sequence[float | None], str]]) -> dict[str, Any]:
    now = datetime.now(UTC)
    times = [now - timedelta(minutes=traffic.MINUTES - 1 - number) for number in range(traffic.MINUTES)]
    sets = [
        {"label": label, "data": values, "backgroundColor": colour, "borderColor": colour, "spanGaps": True}
        for label, values, colour in lines
    ]
    data = {"labels": [f"{at:%H:%M}" for at in times], "datasets": sets}
    options = {
        "animation": False,
        "maintainAspectRatio": False,
        "elements": {"point": {"radius": 0}, "line": {"borderWidth": 2}},
        "plugins": {"legend": {"display": len(lines) > 1, "position": "bottom"}},
        "scales": {
            "x": {"stacked": kind == "bar", "ticks": {"maxTicksLimit": 7, "maxRotation": 0}},
            "y": {"stacked": kind == "bar", "beginAtZero": True, "ticks": {"maxTicksLimit": 5, "precision": 0}},
        },
    }
    encode = msgspec.json.encode
    text = ", ".join(f"{label} {_last(values)}" for label, values, _ in lines)
    return {
        "title": title,
        "kind": kind,
        "data": encode(data).decode(),
        "options": encode(options).decode(),
        "text": f"{title}, in the last complete minute: {text}",
    }


def _last(values: Sequence[float | None]) -> str:
    value = values[-2]
    return "none" if value is None else f"{value:,.0f}"


def _rejections(code: str) -> str:
    return f"{reverse('admin:core_rejection_changelist')}?{urlencode({'q': code})}"


def _topic(one: traffic.TopicTraffic) -> dict[str, Any]:
    address = reverse("admin:producer_producerequest_changelist")
    return {
        "name": one.name,
        "address": f"{address}?{urlencode({'topic': one.name})}",
        "requests": int(one.requests),
        "written": int(one.written),
        "failed": int(one.failed),
        "hour": sparkline(one.hour, "requests in each minute of the last hour"),
        "day": sparkline(one.day, "requests in each quarter of the last day"),
    }


def sparkline(values: Sequence[float], what: str) -> SafeString:
    """Return a small line without axes."""
    most = max(values) or 1.0
    step = SPARK_WIDTH / max(1, len(values) - 1)
    points = " ".join(
        f"{number * step:.1f},{SPARK_HEIGHT - 1 - (SPARK_HEIGHT - 2) * value / most:.1f}"
        for number, value in enumerate(values)
    )
    return format_html(
        '<svg class="takhin-spark" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img" '
        'aria-label="{2}, at most {3}">'
        '<polyline points="{4}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>',
        SPARK_WIDTH,
        SPARK_HEIGHT,
        what,
        f"{max(values):,.0f}",
        points,
    )
