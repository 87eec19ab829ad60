"""The audit log's screen, and the history of an object on its own page."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import DropdownFilter, TextFilter

from core.admin.base import ReadOnlyAdmin
from core.admin.times import ago
from core.models import AuditEntry

KINDS = ("group", "key", "request", "requests", "server", "subject", "topic", "user")


class KindFilter(DropdownFilter):  # type: ignore[misc]
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind, kind) for kind in KINDS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


class ObjectFilter(TextFilter):  # type: ignore[misc]
    title = "object (with a kind)"
    parameter_name = "object"

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        return queryset.filter(name=self.value()) if self.value() else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin, ModelAdmin):  # type: ignore[misc]
    empty_text = "Changes, logins, rejections and views of payloads appear here."
    list_display = ("when", "event", "actor", "kind", "name", "outcome", "client")
    list_filter = (KindFilter, ObjectFilter)
    list_filter_submit = True
    search_fields = ("actor__icontains", "event__startswith", "request_id__exact")
    search_help_text = "Who, an event, or an X-Request-Id"
    fields = ("at", "event", "actor", "client", "kind", "name", "outcome", "shown_details", "request_id")
    readonly_fields = ("shown_details",)

    @admin.display(description="when")
    def when(self, entry: AuditEntry) -> SafeString:
        return ago(entry.at)

    @admin.display(description="details")
    def shown_details(self, entry: AuditEntry) -> SafeString | str:
        try:
            details = entry.read_details()
        except ValueError:
            # It was too long, and cut.
            return entry.details
        rows = format_html_join("", "<dt>{}</dt><dd>{}</dd>", sorted(details.items()))
        return format_html('<dl class="takhin-facts">{}</dl>', rows)
