"""One subject on a page: its versions and level, two of them side by side, and a schema to try."""

import difflib
from typing import Any

import msgspec
from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_http_methods

from registry import configuration, errors, listing, store

WRAP = 60


class TrialForm(forms.Form):
    text = forms.CharField(
        label="Schema", max_length=1024 * 1024, widget=forms.Textarea(attrs={"rows": 12, "spellcheck": "false"})
    )


@require_http_methods(["GET", "HEAD", "POST"])
def subject(request: HttpRequest) -> HttpResponse:
    """Nothing here registers: a trial only tells what the subject's level would say."""
    if not request.user.has_perm("registry.view_subjectversion"):
        raise PermissionDenied
    name = request.GET.get("subject", "")
    context: dict[str, Any] = {**admin.site.each_context(request), "title": name or "Subjects", "subject": name}
    form = TrialForm(request.POST or None)
    try:
        context |= _versions(name, request.GET.get("left", ""), request.GET.get("right", ""))
        if request.method == "POST" and form.is_valid():
            context["tried"] = True
            context["messages_of_trial"] = store.incompatibilities(name, form.cleaned_data["text"], None, every=True)
    except errors.RegistryError as error:
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


def _difference(older: store.Version, newer: store.Version) -> str:
    table = difflib.HtmlDiff(wrapcolumn=WRAP).make_table(
        _lines(older), _lines(newer), f"Version {older.version}", f"Version {newer.version}"
    )
    # HtmlDiff escapes the lines itself.
    return mark_safe(table)  # noqa: S308


def _lines(version: store.Version) -> list[str]:
    return msgspec.json.format(version.schema.text, indent=2).splitlines()
