"""Find what a search term names, from every page: a request, a rejection, a record, a topic or a subject."""

import re
from collections.abc import Iterator

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode
from unfold.dataclasses import SearchResult

from core.admin.times import relative
from core.errors import StorageError
from core.formatting import instant
from core.models import Rejection
from producer.admin.filters import search as search_requests
from producer.models import ProduceRequest, Status, created_at
from registry.models import SubjectVersion
from topics.admin import record_links
from topics.log import current_log

MOST = 10
# A shorter prefix of a request's id finds too much to be meant.
LEAST_DIGITS = 6
PLACE = re.compile(r"([a-zA-Z0-9._-]{1,249})/(\d{1,9})/(-?\d{1,18})")


def find(request: HttpRequest, _: str) -> list[SearchResult]:
    """Called by the theme, whose own term is in lower case."""
    term = request.GET.get("s", "").strip().replace("\0", "")
    finders = (_place, _requests, _rejections, _topics, _subjects)
    return [result for finder in finders for result in finder(request, term)]


def _place(request: HttpRequest, term: str) -> Iterator[SearchResult]:
    place = PLACE.fullmatch(term)
    if place is not None and request.user.has_perm("topics.view_recordbatch"):
        topic, partition, offset = place[1], int(place[2]), int(place[3])
        yield SearchResult(term, "Record", record_links.address(topic, partition, offset), "search")


def _requests(request: HttpRequest, term: str) -> Iterator[SearchResult]:
    if not request.user.has_perm("producer.view_producerequest"):
        return
    digits = term.lower().removeprefix("req_")
    is_prefix = bool(re.fullmatch(r"[0-9a-f]+(…|\.\.\.)?[0-9a-f]*", digits))
    if is_prefix and len(digits) < LEAST_DIGITS:
        return
    rows = list(search_requests(ProduceRequest.objects.defer("body", "outcomes"), term)[:MOST])
    for row in rows:
        text = f"{Status(row.status).label}, {row.topic}, {relative(row.created_at)}"
        yield SearchResult(row.pk, text, reverse("admin:producer_producerequest_change", args=[row.pk]), "list_alt")
    if not rows and (created := created_at(term.lower())) is not None:
        address = reverse("admin:producer_producerequest_change", args=[term.lower()])
        yield SearchResult(term.lower(), f"Created {instant(created)}, and not kept any more", address, "list_alt")


def _rejections(request: HttpRequest, term: str) -> Iterator[SearchResult]:
    if not request.user.has_perm("core.view_rejection"):
        return
    for row in Rejection.objects.filter(request_id=term)[:MOST]:
        text = f"{row.status} {row.code}, {row.method} {row.path[:80]}, {relative(row.at)}"
        yield SearchResult(term, text, reverse("admin:core_rejection_change", args=[row.pk]), "block")


def _topics(request: HttpRequest, term: str) -> Iterator[SearchResult]:
    if not request.user.has_perm("topics.view_topic"):
        return
    try:
        names = [name for name in current_log().topic_names() if term.lower() in name.lower()]
    except StorageError:
        return
    address = reverse("admin:topics_topic_changelist")
    for name in sorted(names, key=lambda name: (name != term, len(name), name))[:MOST]:
        yield SearchResult(name, "Topic", f"{address}?{urlencode({'q': name})}", "topic")


def _subjects(request: HttpRequest, term: str) -> Iterator[SearchResult]:
    if not admin.site.get_model_admin(SubjectVersion).has_view_permission(request):
        return
    found = SubjectVersion.objects.filter(subject__startswith=term).order_by("subject")
    for name in found.values_list("subject", flat=True).distinct()[:MOST]:
        yield SearchResult(
            name, "Subject", f"{reverse('admin:registry_subject')}?{urlencode({'subject': name})}", "schema"
        )
