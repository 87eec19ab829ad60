"""Show how far a change of many requests has come."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin

from core.admin.base import ReadOnlyAdmin
from producer.models import BulkChange
from producer.queue import bulk_changes

REFRESH_SECONDS = 2


@admin.register(BulkChange)
class BulkChangeAdmin(ReadOnlyAdmin, ModelAdmin):  # type: ignore[misc]
    empty_text = "Retries and cancellations of many requests appear here."
    list_display = ("created_at", "action", "user", "total", "changed", "finished_at")
    fields = ("action", "user", "created_at", "finished_at", "changed")
    readonly_fields = fields
    change_form_outer_after_template = "producer/bulk_change.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[BulkChange]:
        rows: QuerySet[BulkChange] = super().get_queryset(request)
        return rows.defer("ids")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("producer.change_producerequest")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        bulk_changes.resume()
        change = BulkChange.objects.filter(pk=object_id).defer("ids").first() if object_id.isdecimal() else None
        shown: dict[str, Any] = {}
        if change is not None:
            percent = 100 * change.done // max(1, change.total)
            shown = {"bulk": change, "percent": percent, "skipped": sorted(change.read_skipped().items())}
        response: HttpResponse = super().change_view(request, object_id, form_url, {**(extra_context or {}), **shown})
        if change is not None and change.finished_at is None:
            response.headers["Refresh"] = str(REFRESH_SECONDS)
        return response
