"""Admin pages for subjects, their versions and settings, and the change history."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, Model, OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display

from core.admin.base import ReadOnlyAdmin
from core.admin.times import ago
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
    empty_text = "Schemas that are registered at /registry, or sent with records, appear here."
    list_display = ("subject", "versions", "latest", "schema_id", "level", "state", "created", "compare")
    list_select_related = ("schema",)
    search_fields = ("subject__startswith",)
    search_help_text = "Search by subject prefix"
    fields = ("subject", "version", "schema_id", "deleted", "created_at", "references", "text")
    readonly_fields = ("schema_id", "references", "text")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SubjectVersion]:
        """Return each subject's latest version for the list, and every version for the pages of versions."""
        rows: QuerySet[SubjectVersion] = super().get_queryset(request).order_by("subject", "-version")
        if request.resolver_match is None or not str(request.resolver_match.url_name).endswith("_changelist"):
            return rows
        same = SubjectVersion.objects.filter(subject=OuterRef("subject"))
        return rows.filter(version=Subquery(same.order_by("-version").values("version")[:1]))

    def complete(self, rows: list[Any]) -> None:
        names = [row.subject for row in rows]
        counted = SubjectVersion.objects.filter(subject__in=names).order_by().values_list("subject")
        counts = dict(counted.annotate(count=Count("pk")))
        levels = dict(SubjectConfig.objects.filter(subject__in=names).values_list("subject", "compatibility"))
        for row in rows:
            row.count, row.own_level = counts[row.subject], levels.get(row.subject, "")

    @admin.display(description="versions")
    def versions(self, row: Any) -> int:
        return int(row.count)

    @admin.display(description="latest")
    def latest(self, row: SubjectVersion) -> int:
        return row.version

    @admin.display(description="level")
    def level(self, row: Any) -> str:
        return str(row.own_level or "the global one")

    @display(description="state", label={"deleted": "warning"})  # type: ignore[untyped-decorator]
    def state(self, row: SubjectVersion) -> tuple[str, str] | None:
        return ("deleted", "soft-deleted") if row.deleted else None

    @admin.display(description="created")
    def created(self, row: SubjectVersion) -> SafeString:
        return ago(row.created_at)

    def get_urls(self) -> list[Any]:
        page = self.admin_site.admin_view(subject_page.subject)
        return [path("subject/", page, name="registry_subject"), *super().get_urls()]

    @admin.display(description="")
    def compare(self, row: SubjectVersion) -> SafeString:
        query = urlencode([("subject", row.subject), ("right", row.version)])
        address = f"{reverse('admin:registry_subject')}?{query}"
        return format_html('<a class="takhin-link" href="{}">Compare and test</a>', address)

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
    @admin.display(description="made")
    def made(self, change: Change) -> SafeString:
        return ago(change.made_at)

    list_display = ("made", "what", "subject", "version", "schema_id", "setting", "by")
    search_fields = ("subject__startswith",)
    search_help_text = "Search by subject prefix"
