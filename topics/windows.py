"""Make the admin a window on facts: nothing to edit, nothing counted to its end, no transaction around the log."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.options import csrf_protect_m
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from django.utils.text import capfirst

from topics.backends.embedded import EmbeddedLog
from topics.errors import LogError
from topics.logs import current_log

if TYPE_CHECKING:
    Admin = admin.ModelAdmin[Any]
else:
    Admin = admin.ModelAdmin

# A count walks an index: 10,000 entries take 1 ms, a million take 60 ms and more.
MOST_COUNTED = 10_000


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Count to MOST_COUNTED and no further; later rows are reached by filters."""

    template_name = "topics/pagination.html"

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
    """How many rows a queryset has, or MOST_COUNTED + 1 for more than that."""
    count: int = rows.order_by()[: MOST_COUNTED + 1].count()
    return count


class BoundedChangeList(ChangeList):
    """unfold shows a count beside the title unless it is that of all rows, and knows nothing of a bounded one."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.full_result_count = self.result_count


class Bounded(Admin):
    """A list that never counts to its end."""

    show_full_result_count = False
    # Facets count every choice of every filter over the whole table.
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BoundedChangeList


class Facts(Bounded):
    """Rows that are looked at and never edited here."""

    list_per_page = 50
    # Only the primary key has an order that an index keeps.
    sortable_by = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def is_embedded() -> bool:
    """Whether the log in use is the one whose tables the models are."""
    return isinstance(current_log(), EmbeddedLog)


class EmbeddedOnly(Admin):
    """Tables of the embedded log, which say nothing where another log is in use."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return is_embedded() and super().has_module_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return is_embedded() and super().has_view_permission(request, obj)


class OutsideTransaction(Admin):
    """Save and delete by `commits.run`, whose writer would wait for the transaction Django opens around a form.

    A form that the log refused is shown again with the reason, and in place of a page that the log could not give
    stands the reason alone.
    """

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
            except LogError as error:
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

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return self._answered(request, partial(super().history_view, request, object_id, extra_context))

    def _answered(self, request: HttpRequest, view: Callable[[], HttpResponse]) -> HttpResponse:
        try:
            return view()
        except LogError as error:
            if request.method == "POST" and not hasattr(request, "refusal"):
                self.message_user(request, str(error), messages.ERROR)
                return HttpResponseRedirect(request.get_full_path())
            context = {
                **self.admin_site.each_context(request),
                "title": capfirst(self.opts.verbose_name_plural),
                "opts": self.opts,
                "error": str(error),
            }
            return TemplateResponse(request, "topics/refused.html", context)


class Refused:
    """Makes a form invalid for a reason that only the log knew."""

    refusal = ""

    def clean(self) -> None:
        raise ValidationError(self.refusal)
