"""Show a partition's records in the admin, a page at a time."""

from typing import Any

import msgspec
from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from topics.errors import LogError, OffsetOutOfRange
from topics.logs import current_log
from topics.models import RecordBatch
from topics.records import PartitionInfo, StoredRecord, TopicInfo
from topics.rendering import Shown, moment, show

PAGE = 20
MAX_OFFSET = 2**63 - 1
# Past this the topic is typed, not chosen from a list.
MOST_LISTED = 500


class Shelf(msgspec.Struct, frozen=True):
    """One record as the page shows it."""

    offset: int
    timestamp: int
    moment: str
    codec: str
    key: Shown
    value: Shown
    headers: list[tuple[str, Shown]]


class PlaceForm(forms.Form):
    topic = forms.CharField(max_length=249, required=False)
    partition = forms.IntegerField(min_value=0, max_value=2**31 - 1, required=False)
    offset = forms.IntegerField(min_value=-MAX_OFFSET, max_value=MAX_OFFSET, required=False)


@require_safe
def records(request: HttpRequest) -> HttpResponse:
    """One page of records: of the newest ones, until an offset is given.

    1. Judge the place asked for, and choose what it leaves open.
    2. Read a page there; below the first kept offset, read from that one and say so.
    3. Show each record's bytes as text, and links to the pages before and after.
    """
    if not request.user.has_perm("topics.view_recordbatch"):
        raise PermissionDenied
    topics = current_log().topics()
    form = PlaceForm(request.GET)
    context = {
        **admin.site.each_context(request),
        "title": "Record browser",
        "topics": topics if len(topics) <= MOST_LISTED else None,
        "form": form,
        "page_size": PAGE,
    }
    name = form.cleaned_data["topic"] if form.is_valid() else ""
    if name:
        try:
            context |= _page(current_log().topic(name), **form.cleaned_data)
        except LogError as error:
            context["error"] = str(error)
    return TemplateResponse(request, "topics/records.html", context)


def _page(found: TopicInfo, topic: str, partition: int | None, offset: int | None) -> dict[str, Any]:
    number = _fullest(found).id if partition is None else partition
    context: dict[str, Any] = {"topic": found}
    if number >= len(found.partitions):
        return context | {"error": f"{topic} has partitions 0 to {len(found.partitions) - 1}, and no {number}"}
    bounds = found.partitions[number]
    wanted = -PAGE if offset is None else offset
    try:
        stored = current_log().read(topic, number, wanted, PAGE)
    except OffsetOutOfRange as error:
        context["warning"] = str(error)
        wanted = error.first
        stored = current_log().read(topic, number, wanted, PAGE)
    codecs = _codecs(topic, stored)
    return context | {
        "partition": bounds,
        "records": [_shelf(record, codecs) for record in stored],
        "links": _links(topic, bounds, _start(wanted, bounds), stored),
    }


def _fullest(topic: TopicInfo) -> PartitionInfo:
    """The partition to open with: the first of those with the most records."""
    return max(topic.partitions, key=lambda bounds: bounds.high_watermark - bounds.first_offset)


def _start(wanted: int, bounds: PartitionInfo) -> int:
    """Where reading began, as an offset from the beginning."""
    return max(bounds.first_offset, bounds.high_watermark + wanted) if wanted < 0 else wanted


def _links(topic: str, bounds: PartitionInfo, start: int, stored: list[StoredRecord]) -> dict[str, str]:
    """Addresses of the neighbouring pages; one that would be empty is left out."""
    links = {}
    if start > bounds.first_offset:
        before = min(start, bounds.high_watermark) - PAGE
        links["oldest"] = address(topic, bounds.id, bounds.first_offset)
        links["older"] = address(topic, bounds.id, max(bounds.first_offset, before))
    after = stored[-1].offset + 1 if stored else start
    if after < bounds.high_watermark:
        links["newer"] = address(topic, bounds.id, after)
        links["newest"] = address(topic, bounds.id)
    return links


def address(topic: str, partition: int, offset: int | None = None) -> str:
    """The browser's page that begins at an offset, or the one with the newest records."""
    place: dict[str, Any] = {"topic": topic, "partition": partition}
    if offset is not None:
        place["offset"] = offset
    return f"{reverse('admin:topics_records')}?{urlencode(place)}"


def _codecs(topic: str, stored: list[StoredRecord]) -> list[tuple[int, str]]:
    """Base offset and codec of the batches these records came from, newest first; none for another log's."""
    if not stored:
        return []
    batches = RecordBatch.objects.filter(
        partition__topic__name=topic, partition__number=stored[0].partition, base_offset__lte=stored[-1].offset
    )
    # A batch holds at least one record.
    return list(batches.order_by("-base_offset").values_list("base_offset", "codec")[: len(stored)])


def _shelf(record: StoredRecord, codecs: list[tuple[int, str]]) -> Shelf:
    return Shelf(
        offset=record.offset,
        timestamp=record.timestamp,
        moment=moment(record.timestamp),
        codec=next((codec for base, codec in codecs if base <= record.offset), ""),
        key=show(record.key),
        value=show(record.value),
        headers=[(name, show(content)) for name, content in record.headers],
    )
