"""Admin base classes: bounded counts, read-only pages, and no transaction around the storage's calls."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.options import csrf_protect_m
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from django.utils.text import capfirst

from core.admin.times import ago
from core.errors import StorageError
from core.formatting import length
from core.models import AuditEntry

if TYPE_CHECKING:
    Admin = admin.ModelAdmin[Any]
else:
    Admin = admin.ModelAdmin

# Counting scans an index: 10,000 entries take 1 ms, a million take 60 ms or more.
MOST_COUNTED = 10_000
MOST_HISTORY = 200


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Count at most MOST_COUNTED rows. Rows beyond that can be found with filters."""

    template_name = "core/pagination.html"

    @cached_property
    def counted(self) -> int:
        return bounded_count(self.object_list)

    @property
    def is_capped(self) -> bool:
        return self.counted > MOST_COUNTED

    @cached_property
    def count(self) -> int:
        return min(self.counted, MOST_COUNTED)


def bounded_count(rows: Any) -> int:
    """Return the number of rows in a queryset, but at most MOST_COUNTED + 1."""
    count: int = rows.order_by()[: MOST_COUNTED + 1].count()
    return count


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


class BoundedChangeList(ChangeList):
    """Set the full count to the bounded one, because unfold shows a count beside the title if the two differ."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.full_result_count = self.result_count
        self.result_list = list(self.result_list)
        self.model_admin.complete(self.result_list)  # type: ignore[attr-defined]


class BoundedAdmin(Admin):
    """A list with a bounded count."""

    show_full_result_count = False
    # Facets count the whole table for every choice of every filter.
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator

    # The kind of these objects in the audit log.
    audit_kind = ""
    # The text of an empty list: how it would be filled.
    empty_text = ""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BoundedChangeList

    def complete(self, rows: list[Any]) -> None:
        """Add to the rows of one page what is too costly for all."""

    def audit_name(self, obj: Any) -> str:
        """Return the name under which the audit log knows the object."""
        return str(obj)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show what the audit log has about the object, instead of Django's own history."""
        return self._answered(request, partial(self._history, request, object_id))

    def _history(self, request: HttpRequest, object_id: str) -> HttpResponse:
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
        if not self.has_view_permission(request, obj):
            raise PermissionDenied
        found = AuditEntry.objects.filter(kind=self.audit_kind, name=self.audit_name(obj)[:255])[:MOST_HISTORY]
        context = {
            **self.admin_site.each_context(request),
            "title": f"History of {obj}",
            "opts": self.opts,
            "entries": [(entry, ago(entry.at)) for entry in found],
            "may_audit": request.user.has_perm("core.view_auditentry"),
            "kept": length(timedelta(seconds=settings.TAKHIN_AUDIT_TTL)),
        }
        return TemplateResponse(request, "core/history.html", context)

    def _answered(self, request: HttpRequest, view: Callable[[], HttpResponse]) -> HttpResponse:
        """Return the view's response, or the reason why the log cannot provide it."""
        try:
            return view()
        except StorageError as error:
            if request.method == "POST" and not hasattr(request, "refusal"):
                self.message_user(request, str(error), messages.ERROR)
                return HttpResponseRedirect(request.get_full_path())
            context = {
                **self.admin_site.each_context(request),
                "title": capfirst(self.opts.verbose_name_plural),
                "opts": self.opts,
                "error": str(error),
            }
            return TemplateResponse(request, "core/refused.html", context)


class ReadOnlyAdmin(BoundedAdmin):
    """Read-only rows."""

    list_per_page = 50
    # Only the primary key's order has an index.
    sortable_by = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class OutsideTransactionAdmin(Admin):
    """Save and delete without Django's transaction around the form: the writer of `commit` would wait for it.

    For a BoundedAdmin. If the log rejects a form, it is shown again with the reason. If the log cannot provide a page,
    only the reason is shown.
    """

    if TYPE_CHECKING:

        def _answered(self, request: HttpRequest, view: Callable[[], HttpResponse]) -> HttpResponse: ...

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return self._answered(request, partial(super().changelist_view, request, extra_context))

    @csrf_protect_m  # type: ignore[untyped-decorator]
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        view = partial(self._changeform_view, request, object_id, form_url, extra_context)  # type: ignore[attr-defined]
        if request.method == "POST":
            try:
                return view()  # type: ignore[no-any-return]
            except StorageError as error:
                request.refusal = str(error)  # type: ignore[attr-defined]
        return self._answered(request, view)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change, **kwargs)
        refusal = getattr(request, "refusal", "")
        return type(form.__name__, (Refused, form), {"refusal": refusal}) if refusal else form

    @csrf_protect_m  # type: ignore[untyped-decorator]
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return self._answered(request, partial(self._delete_view, request, object_id, extra_context))  # type: ignore[attr-defined]


class Refused:
    """Makes a form invalid with the log's reason."""

    refusal = ""

    def clean(self) -> None:
        raise ValidationError(self.refusal)
