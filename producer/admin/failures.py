"""Group the requests that failed by topic and code, and say what became of a request that is gone."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Max, Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from core.admin.times import ago
from core.formatting import instant, length
from producer.admin.filters import NEWEST, among_newest
from producer.models import ProduceRequest, RequestMode, Status, created_at

MOST_GROUPS = 200


@require_safe
def failures(request: HttpRequest) -> HttpResponse:
    """Show how many of the newest async requests failed or were partly written, by topic and code."""
    if not request.user.has_perm("producer.view_producerequest"):
        raise PermissionDenied
    groups = sorted(_groups(), key=lambda group: group["count"], reverse=True)
    topics: dict[str, list[dict[str, Any]]] = {}
    for group in groups[:MOST_GROUPS]:
        topics.setdefault(group["topic"], []).append(group)
    context = {
        **admin.site.each_context(request),
        "title": "Failures",
        "topics": topics,
        "more": max(0, len(groups) - MOST_GROUPS),
        "newest": f"{NEWEST:,}",
        "kept": length(timedelta(seconds=settings.TAKHIN_FAILURE_TTL)),
        "may_operate": request.user.has_perm("producer.change_producerequest"),
        "may_export": request.user.has_perm("producer.view_payload"),
    }
    return TemplateResponse(request, "producer/failures.html", context)


def _groups() -> Iterator[dict[str, Any]]:
    address = reverse("admin:producer_producerequest_changelist")
    for status in (Status.FAILED, Status.PARTIAL):
        rows = among_newest(ProduceRequest.objects.filter(status=status, mode=RequestMode.ASYNC), status)
        grouped = rows.order_by().values("topic", "code")
        for group in grouped.annotate(
            count=Count("pk"), newest=Max("id"), records=Sum("record_count"), written=Sum("written_count")
        ):
            query = {"status": status.value, "mode": "async", "topic": group["topic"], "code": group["code"]}
            created = created_at(group["newest"])
            yield {
                **group,
                "label": status.label,
                "failed": group["records"] - group["written"],
                "when": ago(created),
                "address": f"{address}?{urlencode(query)}",
                "export": f"{reverse('admin:producer_export')}?{urlencode(query)}",
            }


def purged(model_admin: Any, request: HttpRequest, request_id: str, created: datetime) -> HttpResponse:
    """Say when a request was created that is not there any more."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Request not found",
        "opts": model_admin.opts,
        "request_id": request_id,
        "created": instant(created),
        "ago": ago(created),
        "kept": length(timedelta(seconds=settings.TAKHIN_REQUEST_TTL)),
        "failures_kept": length(timedelta(seconds=settings.TAKHIN_FAILURE_TTL)),
        "tracks_all": settings.TAKHIN_TRACK_SYNC == "all",
    }
    return TemplateResponse(request, "producer/purged.html", context, status=404)
