"""Show produce requests; retry failed ones and cancel pending ones."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.urls import path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display

from core import audit
from core.admin.base import ReadOnlyAdmin
from core.admin.times import ago
from producer.admin import dashboard, export, failures, operations, produce
from producer.admin.filters import (
    CodeFilter,
    CreatedFilter,
    ModeFilter,
    RequestTopicFilter,
    SinceFilter,
    StatusFilter,
    search,
)
from producer.admin.request_page import lasted, request_context
from producer.models import BulkAction, ProduceRequest, Status, created_at

STATUS_COLOURS = {
    Status.PENDING: "warning",
    Status.COMPLETED: "success",
    Status.PARTIAL: "info",
    Status.FAILED: "danger",
    Status.CANCELLED: "default",
}


@admin.register(ProduceRequest)
class ProduceRequestAdmin(ReadOnlyAdmin, ModelAdmin):  # type: ignore[misc]
    audit_kind = "request"
    empty_text = "Produce requests appear here. Finished ones are purged after TAKHIN_REQUEST_TTL."
    list_display = (
        "shown_id",
        "shown_status",
        "topic",
        "shown_code",
        "shown_records",
        "mode",
        "duration",
        "created",
    )
    list_filter = (StatusFilter, CodeFilter, ModeFilter, SinceFilter, RequestTopicFilter, ("created_at", CreatedFilter))
    list_filter_submit = True
    list_filter_sheet = True
    search_fields = ("id",)
    search_help_text = "Request id, X-Request-Id, or Idempotency-Key"
    ordering = ("-id",)
    actions = ("retry_failed", "cancel_pending")
    change_form_outer_before_template = "producer/request.html"
    fieldsets = (
        (
            "Request",
            {
                "fields": (
                    "id",
                    "trace_id",
                    "topic",
                    ("status", "mode"),
                    ("record_count", "written_count", "failed_count"),
                    ("shown_bytes", "codec", "key"),
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProduceRequest]:
        rows: QuerySet[ProduceRequest] = super().get_queryset(request)
        return rows.defer("body", "outcomes", "earlier")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ProduceRequest], search_term: str
    ) -> tuple[QuerySet[ProduceRequest], bool]:
        term = search_term.strip()
        return (search(queryset, term) if term else queryset), False

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        return [
            path("produce/", wrap(produce.produce_view), name="producer_produce"),
            path("dashboard/", wrap(dashboard.part), name="producer_dashboard"),
            path("failures/", wrap(failures.failures), name="producer_failures"),
            path("failures/export/", wrap(export.export), name="producer_export"),
            path("failures/retry/", wrap(self.retry_topic_view), name="producer_retry_topic"),
            path("<path:object_id>/retry/", wrap(self.retry_view), name="producer_retry"),
            path("<path:object_id>/cancel/", wrap(self.cancel_view), name="producer_cancel"),
            path("<path:object_id>/payload/", wrap(self.payload_view), name="producer_payload"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = ProduceRequest.objects.filter(pk=unquote(object_id)).first()
        if row is None and (created := created_at(unquote(object_id))) is not None:
            return failures.purged(self, request, unquote(object_id), created)
        shown: dict[str, Any] = {"may_operate": self.has_operate_permission(request)}
        if row is not None and self.has_view_permission(request, row):
            may_see = self.has_payload_permission(request)
            shown |= request_context(row, request, may_see_payload=may_see)
            if may_see and row.body is not None:
                audit.note("payload_viewed", "request", row.pk, topic=row.topic)
        response: HttpResponse = super().change_view(request, object_id, form_url, {**(extra_context or {}), **shown})
        return response

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may retry and cancel requests, which is not the same as editing them."""
        return request.user.has_perm("producer.change_producerequest")

    def has_payload_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("producer.view_payload")

    @admin.action(description="Retry failed", permissions=["operate"])
    def retry_failed(self, request: HttpRequest, queryset: QuerySet[ProduceRequest]) -> HttpResponse | None:
        return operations.change_many(self, request, queryset, BulkAction.RETRY)

    @admin.action(description="Cancel pending", permissions=["operate"])
    def cancel_pending(self, request: HttpRequest, queryset: QuerySet[ProduceRequest]) -> HttpResponse | None:
        return operations.change_many(self, request, queryset, BulkAction.CANCEL)

    def retry_topic_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_operate_permission(request):
            raise PermissionDenied
        return operations.retry_topic(self, request)

    def retry_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._operate(request, object_id, BulkAction.RETRY)

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._operate(request, object_id, BulkAction.CANCEL)

    def _operate(self, request: HttpRequest, object_id: str, action: BulkAction) -> HttpResponse:
        if not self.has_operate_permission(request):
            raise PermissionDenied
        return operations.change_one(self, request, self._find(object_id), action)

    def payload_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return a request's body as its client sent it, decompressed."""
        if not self.has_payload_permission(request):
            raise PermissionDenied
        row = self._find(object_id)
        if row.body is None:
            raise Http404
        audit.note("payload_viewed", "request", row.pk, topic=row.topic)
        return export.download(row.read_body(), f"{row.pk}.{'ndjson' if 'ndjson' in row.dialect else 'json'}")

    def _find(self, object_id: str) -> ProduceRequest:
        row = ProduceRequest.objects.filter(pk=unquote(object_id)).first()
        if row is None:
            raise Http404
        return row

    @admin.display(description="request")
    def shown_id(self, row: ProduceRequest) -> SafeString:
        return format_html('<span class="takhin-nowrap" title="{}">{}…{}</span>', row.pk, row.pk[:12], row.pk[-6:])

    @display(description="status", label=STATUS_COLOURS)  # type: ignore[untyped-decorator]
    def shown_status(self, row: ProduceRequest) -> tuple[str, str]:
        return row.status, "Partly" if row.status == Status.PARTIAL else str(Status(row.status).label)

    @admin.display(description="reason")
    def shown_code(self, row: ProduceRequest) -> SafeString:
        return format_html('<span title="{}">{}</span>', row.error, row.code or row.error[:40])

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
    def shown_bytes(self, row: ProduceRequest) -> SafeString:
        return _unbroken(filesizeformat(row.body_bytes))

    @admin.display(description="codec")
    def codec(self, row: ProduceRequest) -> str:
        return row.read_options().compression

    @admin.display(description="duration")
    def duration(self, row: ProduceRequest) -> SafeString:
        return _unbroken(lasted(row.created_at, row.completed_at))

    @admin.display(description="created")
    def created(self, row: ProduceRequest) -> SafeString:
        return ago(row.created_at)


def _unbroken(text: str) -> SafeString:
    return format_html('<span class="takhin-nowrap">{}</span>', text)
