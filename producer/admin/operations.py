"""Retry and cancel requests: one at once, many in the background, each after a page that says what will happen."""

from typing import Any

from django.contrib import messages
from django.db import IntegrityError
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from core import audit, wakeups
from core.admin.base import counted
from core.database import transactions
from core.errors import StorageError
from producer.models import BulkAction, NotRetried, ProduceRequest, RequestMode, Status, new_bulk_change
from producer.queue import bulk_changes
from topics.log import current_log

MOST_CHANGED = 100_000
MOST_GROUPS = 20
# The fields of the page itself. Those of the page before are sent again.
OWN = ("csrfmiddlewaretoken", "confirmed", "cancelled")
NOT_WRITTEN = (Status.FAILED, Status.PARTIAL)
NOTED = {BulkAction.RETRY: "request_retried", BulkAction.CANCEL: "request_cancelled"}
Requests = QuerySet[ProduceRequest]


def change_many(
    model_admin: Any, request: HttpRequest, queryset: Requests, action: BulkAction, back: str = ""
) -> HttpResponse | None:
    """Show what will happen to these requests. If the user has confirmed that, begin with it."""
    rows = queryset.select_related(None).order_by("id")
    left_out: list[str] = []
    if action == BulkAction.CANCEL:
        chosen = rows.filter(status=Status.PENDING)
    else:
        chosen, left_out = _to_retry(request, rows)
    ids = list(chosen.values_list("pk", flat=True)[: MOST_CHANGED + 1])
    if len(ids) > MOST_CHANGED:
        ids.pop()
        left_out.append(f"Only the oldest {MOST_CHANGED:,} are changed. Repeat this for the rest.")
    if "confirmed" in request.POST and ids:
        return _begin(model_admin, request, action, ids)
    by_topic = chosen.order_by().values("topic", "code", "status").annotate(count=Count("pk")).order_by("-count")
    context = {
        "title": f"{action.label} {counted(len(ids), 'request')}",
        "action": action,
        "count": len(ids),
        "groups": [{**one, "label": Status(one["status"]).label} for one in by_topic[:MOST_GROUPS]],
        "left_out": left_out,
        "sent_again": [(name, value) for name, values in request.POST.lists() if name not in OWN for value in values],
        "back": back,
        "cancelled_count": rows.filter(status=Status.CANCELLED).count() if action == BulkAction.RETRY else 0,
        "has_cancelled": _wants_cancelled(request),
    }
    return _page(model_admin, request, context)


def _wants_cancelled(request: HttpRequest) -> bool:
    """Somebody has cancelled them, so they are retried only if that is explicitly wanted."""
    return request.POST.get("cancelled") == "on" or request.GET.get("status") == Status.CANCELLED


def _to_retry(request: HttpRequest, rows: Requests) -> tuple[Requests, list[str]]:
    """Return the requests to retry, and why others are left out."""
    statuses = [*NOT_WRITTEN, Status.CANCELLED] if _wants_cancelled(request) else NOT_WRITTEN
    failed = rows.filter(status__in=statuses)
    left_out = []
    if sync := failed.filter(mode=RequestMode.SYNC).count():
        left_out.append(
            f"{counted(sync, 'sync request')} left out: their clients got the error and may have sent them again. "
            "Retry them one by one, on their pages."
        )
    if others := rows.exclude(status__in=[*NOT_WRITTEN, Status.CANCELLED]).count():
        left_out.append(f"{counted(others, 'request')} left out: pending, or completely written.")
    return failed.filter(mode=RequestMode.ASYNC), left_out


def _begin(model_admin: Any, request: HttpRequest, action: BulkAction, ids: list[str]) -> HttpResponse | None:
    change = new_bulk_change(action, request.user.get_username(), ids)
    try:
        transactions.commit(change.save)
    except StorageError as error:
        model_admin.message_user(request, str(error), messages.ERROR)
        return None
    audit.note(NOTED[action], "requests", str(change.pk), count=len(ids))
    bulk_changes.start(change)
    return HttpResponseRedirect(reverse("admin:producer_bulkchange_change", args=[change.pk]))


def retry_topic(model_admin: Any, request: HttpRequest) -> HttpResponse:
    """Retry all async requests to one topic that failed or were partly written."""
    back = reverse("admin:producer_failures")
    if request.method != "POST":
        return HttpResponseRedirect(back)
    rows = ProduceRequest.objects.failures().filter(topic=request.POST.get("topic", ""))
    return change_many(model_admin, request, rows, BulkAction.RETRY, back) or HttpResponseRedirect(back)


def change_one(model_admin: Any, request: HttpRequest, row: ProduceRequest, action: BulkAction) -> HttpResponse:
    """Show what will happen to this request. If the user has confirmed that, do it."""
    address = reverse("admin:producer_producerequest_change", args=[row.pk])
    if request.method == "POST" and "confirmed" in request.POST:
        level, text = _retried(request, row) if action == BulkAction.RETRY else _cancelled(request, row)
        model_admin.message_user(request, text, level)
        return HttpResponseRedirect(address)
    context = {
        "title": f"{action.label} this request",
        "action": action,
        "row": row,
        "count": 1,
        "obstacle": row.obstacle if action == BulkAction.RETRY else "" if not row.is_finished else "it is not pending",
        "is_sync": row.mode == RequestMode.SYNC,
        "back": address,
    }
    return _page(model_admin, request, context)


def _retried(request: HttpRequest, row: ProduceRequest) -> tuple[int, str]:
    try:
        transactions.commit(lambda: row.retry(request.user.get_username()))
    except NotRetried as reason:
        return messages.WARNING, f"Not retried: {reason}."
    except IntegrityError:
        return messages.WARNING, "Not retried: its client is sending it again."
    except StorageError as error:
        return messages.ERROR, str(error)
    wakeups.work_arrived()
    audit.note(NOTED[BulkAction.RETRY], "request", row.pk, topic=row.topic)
    return messages.SUCCESS, "The request is pending again."


def _cancelled(request: HttpRequest, row: ProduceRequest) -> tuple[int, str]:
    try:
        is_cancelled = transactions.commit(lambda: row.cancel(rolls_back=current_log().supports_transactions))
    except StorageError as error:
        return messages.ERROR, str(error)
    if not is_cancelled:
        return messages.WARNING, f"Not cancelled: {bulk_changes.NO_LONGER_PENDING}."
    wakeups.finished(row.pk)
    audit.note(NOTED[BulkAction.CANCEL], "request", row.pk, topic=row.topic)
    return messages.SUCCESS, "The request is cancelled."


def _page(model_admin: Any, request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    shared = {**model_admin.admin_site.each_context(request), "opts": model_admin.opts}
    return TemplateResponse(request, "producer/confirm.html", {**shared, **context})
