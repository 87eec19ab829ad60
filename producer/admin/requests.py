"""Show produce requests; retry failed ones and cancel pending ones."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display

from core import wakeups
from core.admin.base import ReadOnlyAdmin
from core.database import transactions
from core.errors import StorageError
from producer.admin.filters import CreatedFilter, ModeFilter, RequestTopicFilter, SinceFilter, StatusFilter, search
from producer.admin.request_page import lasted, request_context
from producer.models import ProduceRequest, Status
from topics.log import current_log

# An action changes at most 1000 rows, in commits of 100, so that it finishes within seconds.
MOST_CHANGED = 1000
CHANGE_STEP = 100
STATUS_COLOURS = {"Pending": "warning", "Completed": "success", "Partly": "info", "Failed": "danger"}


@admin.register(ProduceRequest)
class ProduceRequestAdmin(ReadOnlyAdmin, ModelAdmin):  # type: ignore[misc]
    list_display = (
        "shown_id",
        "shown_status",
        "topic",
        "mode",
        "shown_records",
        "shown_bytes",
        "codec",
        "key",
        "duration",
        "created",
    )
    list_select_related = ("api_key",)
    list_filter = (StatusFilter, ModeFilter, SinceFilter, RequestTopicFilter, ("created_at", CreatedFilter))
    list_filter_submit = True
    search_fields = ("id",)
    search_help_text = "Request id or its prefix, X-Request-Id, or Idempotency-Key"
    ordering = ("-id",)
    actions = ("retry_failed", "cancel_pending")
    change_form_outer_after_template = "producer/request.html"
    fieldsets = (
        (
            "Request",
            {
                "fields": (
                    "id",
                    "trace_id",
                    "topic",
                    ("shown_status", "mode"),
                    ("record_count", "written_count", "failed_count"),
                    ("shown_bytes", "codec", "key"),
                    "error",
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProduceRequest]:
        rows: QuerySet[ProduceRequest] = super().get_queryset(request)
        return rows.defer("body", "outcomes")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ProduceRequest], search_term: str
    ) -> tuple[QuerySet[ProduceRequest], bool]:
        term = search_term.strip()
        return (search(queryset, term) if term else queryset), False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = ProduceRequest.objects.filter(pk=unquote(object_id)).first()
        shown = request_context(row) if row is not None else {}
        shown["may_operate"] = self.has_operate_permission(request)
        response: HttpResponse = super().change_view(request, object_id, form_url, {**(extra_context or {}), **shown})
        return response

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may retry and cancel requests, which is not the same as editing them."""
        return request.user.has_perm("producer.change_producerequest")

    @admin.action(description="Retry failed", permissions=["operate"])
    def retry_failed(self, request: HttpRequest, queryset: QuerySet[ProduceRequest]) -> None:
        retried, total = self._change(request, queryset, ProduceRequest.retry)
        if retried:
            wakeups.work_arrived()
        reason = "not failed, no stored body, or possibly written"
        self._tell(request, "pending again", len(retried), total - len(retried), reason)

    @admin.action(description="Cancel pending", permissions=["operate"])
    def cancel_pending(self, request: HttpRequest, queryset: QuerySet[ProduceRequest]) -> None:
        cancel = partial(ProduceRequest.cancel, rolls_back=current_log().supports_transactions)
        cancelled, total = self._change(request, queryset, cancel)
        for pk in cancelled:
            wakeups.finished(pk)
        self._tell(
            request, "cancelled", len(cancelled), total - len(cancelled), "no longer pending, or being written now"
        )

    def _change(
        self,
        request: HttpRequest,
        queryset: QuerySet[ProduceRequest],
        transition: Callable[[ProduceRequest], bool],
    ) -> tuple[list[str], int]:
        """Apply the transition, committing every CHANGE_STEP rows. Return the changed rows' ids and the row count."""
        rows = list(queryset.select_related(None).order_by("id").only("pk", "mode")[: MOST_CHANGED + 1])
        if len(rows) > MOST_CHANGED:
            rows.pop()
            self.message_user(
                request,
                f"Only the oldest {MOST_CHANGED:,} were processed. Repeat the action for the rest.",
                messages.WARNING,
            )
        changed: list[str] = []
        try:
            for start in range(0, len(rows), CHANGE_STEP):
                changed += transactions.commit(partial(_changed, rows[start : start + CHANGE_STEP], transition))
        except StorageError as error:
            self.message_user(request, str(error), messages.ERROR)
        return changed, len(rows)

    def _tell(self, request: HttpRequest, done: str, count: int, left: int, reason: str) -> None:
        noun = "request" if count == 1 else "requests"
        text = f"{count} {noun} {done}."
        if left:
            text += f" {left} skipped: {reason}."
        self.message_user(request, text, messages.SUCCESS if count else messages.WARNING)

    @admin.display(description="request")
    def shown_id(self, row: ProduceRequest) -> SafeString:
        return format_html('<span class="takhin-nowrap" title="{}">{}…{}</span>', row.pk, row.pk[:12], row.pk[-6:])

    @display(description="status", label=STATUS_COLOURS)  # type: ignore[untyped-decorator]
    def shown_status(self, row: ProduceRequest) -> str:
        is_partial = row.status == Status.COMPLETED and row.failed_count
        return "Partly" if is_partial else str(Status(row.status).label)

    @admin.display(description="ok / failed")
    def shown_records(self, row: ProduceRequest) -> str:
        return f"{row.written_count:,} / {row.failed_count:,}" if row.is_finished else f"of {row.record_count:,}"

    @admin.display(description="X-Request-Id")
    def trace_id(self, row: ProduceRequest) -> str:
        return row.trace_id

    @admin.display(description="key")
    def key(self, row: ProduceRequest) -> str:
        return row.api_key.name if row.api_key is not None else ""

    @admin.display(description="bytes")
    def shown_bytes(self, row: ProduceRequest) -> str:
        return filesizeformat(row.body_bytes)

    @admin.display(description="codec")
    def codec(self, row: ProduceRequest) -> str:
        return row.read_options().compression

    @admin.display(description="duration")
    def duration(self, row: ProduceRequest) -> SafeString:
        return _unbroken(lasted(row.created_at, row.completed_at))

    @admin.display(description="created (UTC)")
    def created(self, row: ProduceRequest) -> SafeString:
        return _unbroken(row.created_at.strftime("%Y-%m-%d %H:%M:%S"))


def _changed(rows: list[ProduceRequest], transition: Callable[[ProduceRequest], bool]) -> list[str]:
    return [row.pk for row in rows if transition(row)]


def _unbroken(text: str) -> SafeString:
    return format_html('<span class="takhin-nowrap">{}</span>', text)
