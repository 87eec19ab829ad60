"""The admin page of a subject: its level, a diff of two versions, and a form that tests a schema."""

import difflib
from typing import Any

import msgspec
from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_http_methods

from core.errors import StorageError
from registry import configuration, errors, listing, store
from registry.external import is_external

WRAP = 60
# About a second of difflib, whose cost is quadratic in the number of lines and in the size of a changed block.
MOST_LINES = 2000
MOST_EFFORT = 50_000_000
MOST_OF_LINE = 1000
MOST_INDENTED = 64 * 1024


class TrialForm(forms.Form):
    text = forms.CharField(
        label="Schema", max_length=1024 * 1024, widget=forms.Textarea(attrs={"rows": 12, "spellcheck": "false"})
    )


@require_http_methods(["GET", "HEAD", "POST"])
def subject(request: HttpRequest) -> HttpResponse:
    """Show the page. Testing a schema only checks its compatibility; nothing is registered."""
    if not request.user.has_perm("registry.view_subjectversion"):
        raise PermissionDenied
    if is_external():
        raise Http404
    name = request.GET.get("subject", "")
    context: dict[str, Any] = {**admin.site.each_context(request), "title": name or "Subjects", "subject": name}
    form = TrialForm(request.POST or None)
    try:
        context |= _versions(name, request.GET.get("left", ""), request.GET.get("right", ""))
        if request.method == "POST" and form.is_valid():
            context["tried"] = True
            context["messages_of_trial"] = store.incompatibilities(name, form.cleaned_data["text"], None, every=True)
    except (errors.RegistryError, StorageError) as error:
        context["error"] = str(error)
    return TemplateResponse(request, "registry/subject.html", {**context, "form": form})


def _versions(name: str, left: str, right: str) -> dict[str, Any]:
    numbers = listing.versions(name)
    newer = _chosen(right, numbers, numbers[-1])
    older = _chosen(left, numbers, max((number for number in numbers if number < newer), default=newer))
    return {
        "level": configuration.effective_level(name),
        "is_own_level": configuration.level(name) is not None,
        "versions": numbers,
        "left": older,
        "right": newer,
        "difference": _difference(store.version(name, older), store.version(name, newer)),
    }


def _chosen(given: str, numbers: list[int], otherwise: int) -> int:
    return (
        int(given) if given.isascii() and given.isdigit() and len(given) <= 10 and int(given) in numbers else otherwise
    )


def _difference(older: store.Version, newer: store.Version) -> SafeString:
    """Return a side-by-side diff if that is cheap, otherwise a unified diff."""
    before, after = _lines(older), _lines(newer)
    names = f"Version {older.version}", f"Version {newer.version}"
    if _effort(before, after) <= MOST_EFFORT:
        # HtmlDiff escapes the lines itself.
        return mark_safe(difflib.HtmlDiff(wrapcolumn=WRAP).make_table(before, after, *names))  # noqa: S308
    changed = difflib.unified_diff(before, after, *names, lineterm="")
    return format_html('<pre class="takhin-pre" dir="ltr">{}</pre>', "\n".join(changed))


def _effort(before: list[str], after: list[str]) -> int:
    """Return how many pairs of characters difflib may compare to find the most similar lines of the changed blocks."""
    blocks = difflib.SequenceMatcher(None, before, after).get_opcodes()
    return sum(
        sum(map(len, before[start:end])) * sum(map(len, after[new_start:new_end]))
        for what, start, end, new_start, new_end in blocks
        if what == "replace"
    )


def _lines(version: store.Version) -> list[str]:
    lines = readable(version.schema.text).splitlines()
    shown = [line[:MOST_OF_LINE] for line in lines[:MOST_LINES]]
    rest = len(lines) - len(shown)
    return [*shown, f"… {rest} more lines not compared"] if rest else shown


def readable(text: str) -> str:
    """Return a schema's text, indented. Long schemas get a smaller indent, because indentation grows with depth."""
    return msgspec.json.format(text, indent=1 if len(text) > MOST_INDENTED else 2)
