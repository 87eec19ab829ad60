"""Admin pages for subjects, their versions and settings, and the change history."""

from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from core.admin.base import ReadOnlyAdmin
from registry.admin import subject_page
from registry.external import is_external
from registry.models import Change, SubjectConfig, SubjectVersion


class BuiltInRegistryAdmin(ReadOnlyAdmin):
    """Tables of the built-in registry, hidden when an external registry is used."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return not is_external() and super().has_module_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return not is_external() and super().has_view_permission(request, obj)


@admin.register(SubjectVersion)
class SubjectVersionAdmin(BuiltInRegistryAdmin, ModelAdmin):  # type: ignore[misc]
    list_display = ("subject", "version", "schema_id", "deleted", "created_at", "compare")
    list_select_related = ("schema",)
    search_fields = ("subject__startswith",)
    search_help_text = "Search by subject prefix"
    fields = ("subject", "version", "schema_id", "deleted", "created_at", "references", "text")
    readonly_fields = ("schema_id", "references", "text")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SubjectVersion]:
        rows: QuerySet[SubjectVersion] = super().get_queryset(request)
        return rows.order_by("subject", "-version")

    def get_urls(self) -> list[Any]:
        page = self.admin_site.admin_view(subject_page.subject)
        return [path("subject/", page, name="registry_subject"), *super().get_urls()]

    @admin.display(description="")
    def compare(self, row: SubjectVersion) -> SafeString:
        query = urlencode([("subject", row.subject), ("right", row.version)])
        address = f"{reverse('admin:registry_subject')}?{query}"
        return format_html('<a href="{}">Compare and test</a>', address)

    @admin.display(description="schema")
    def text(self, row: SubjectVersion) -> SafeString:
        return format_html('<pre class="takhin-pre" dir="ltr">{}</pre>', subject_page.readable(row.schema.text))

    @admin.display(description="references")
    def references(self, row: SubjectVersion) -> str:
        return ", ".join(str(reference) for reference in row.schema.references.all()) or "none"


@admin.register(SubjectConfig)
class SubjectConfigAdmin(BuiltInRegistryAdmin, ModelAdmin):  # type: ignore[misc]
    list_display = ("__str__", "compatibility", "mode")


@admin.register(Change)
class ChangeAdmin(BuiltInRegistryAdmin, ModelAdmin):  # type: ignore[misc]
    list_display = ("made_at", "what", "subject", "version", "schema_id", "setting", "by")
    search_fields = ("subject__startswith",)
    search_help_text = "Search by subject prefix"
