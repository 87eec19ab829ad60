"""Show subjects and their versions, and the registry's history."""

from typing import Any

import msgspec
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from registry import pages
from registry.models import Change, SubjectConfig, SubjectVersion
from topics.windows import Facts


@admin.register(SubjectVersion)
class SubjectVersionAdmin(Facts, ModelAdmin):  # type: ignore[misc]
    list_display = ("subject", "version", "schema_id", "deleted", "created_at", "compare")
    list_select_related = ("schema",)
    search_fields = ("subject__startswith",)
    search_help_text = "The beginning of a subject's name"
    fields = ("subject", "version", "schema_id", "deleted", "created_at", "references", "text")
    readonly_fields = ("schema_id", "references", "text")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SubjectVersion]:
        rows: QuerySet[SubjectVersion] = super().get_queryset(request)
        return rows.order_by("subject", "-version")

    def get_urls(self) -> list[Any]:
        page = self.admin_site.admin_view(pages.subject)
        return [path("subject/", page, name="registry_subject"), *super().get_urls()]

    @admin.display(description="")
    def compare(self, row: SubjectVersion) -> SafeString:
        query = urlencode([("subject", row.subject), ("right", row.version)])
        address = f"{reverse('admin:registry_subject')}?{query}"
        return format_html('<a href="{}">Compare and try</a>', address)

    @admin.display(description="schema")
    def text(self, row: SubjectVersion) -> SafeString:
        return format_html('<pre class="takhin-pre" dir="ltr">{}</pre>', msgspec.json.format(row.schema.text, indent=2))

    @admin.display(description="references")
    def references(self, row: SubjectVersion) -> str:
        return ", ".join(str(reference) for reference in row.schema.references.all()) or "none"


@admin.register(SubjectConfig)
class SubjectConfigAdmin(Facts, ModelAdmin):  # type: ignore[misc]
    list_display = ("__str__", "compatibility", "mode")


@admin.register(Change)
class ChangeAdmin(Facts, ModelAdmin):  # type: ignore[misc]
    list_display = ("made_at", "what", "subject", "version", "schema_id", "setting", "by")
    search_fields = ("subject__startswith",)
    search_help_text = "The beginning of a subject's name"
