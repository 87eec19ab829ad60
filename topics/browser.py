"""Show a partition's records in the admin, a page at a time."""

from functools import partial
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

from topics import paging
from topics.decoders import Decoder, new_decoder
from topics.errors import CorruptRecord, LogError, OffsetOutOfRange
from topics.logs import current_log
from topics.models import RecordBatch
from topics.paging import PAGE, Page
from topics.records import PartitionInfo, StoredRecord, TopicInfo
from topics.rendering import Shown, moment, show
from topics.windows import is_embedded

MAX_OFFSET = 2**63 - 1
# Past this the topic is typed, not chosen from a list.
MOST_LISTED = 500
# Corrupt batches in a row that one look passes over: each costs a read of a few milliseconds.
MOST_CORRUPT = 100


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
    before = forms.IntegerField(min_value=0, max_value=MAX_OFFSET, required=False)


@require_safe
def records(request: HttpRequest) -> HttpResponse:
    """One page of records: the newest ones, until an offset is given.

    1. Judge the place asked for, and choose what it leaves open.
    2. Read a page there; below the first kept offset, read from that one and say so.
    3. Show each record's bytes as text, and links to the pages before and after.
    """
    if not request.user.has_perm("topics.view_recordbatch"):
        raise PermissionDenied
    form = PlaceForm(request.GET)
    name = form.cleaned_data["topic"] if form.is_valid() else ""
    context = {**admin.site.each_context(request), "title": "Record browser", "form": form, "page_size": PAGE}
    try:
        names = current_log().topic_names()
        context |= {"has_topics": bool(names), "names": names if len(names) <= MOST_LISTED else None}
        if name:
            context |= _page(current_log().topic(name), form.cleaned_data)
    except LogError as error:
        context["error"] = str(error)
    return TemplateResponse(request, "topics/records.html", context)


def _page(found: TopicInfo, place: dict[str, Any]) -> dict[str, Any]:
    partition, offset, end = place["partition"], place["offset"], place["before"]
    number = max(found.partitions, key=lambda bounds: bounds.kept).id if partition is None else partition
    context: dict[str, Any] = {"topic": found}
    if number >= len(found.partitions):
        return context | {"error": f"{found.name} has partitions 0 to {len(found.partitions) - 1}, and no {number}"}
    bounds = found.partitions[number]
    if not bounds.is_online:
        return context | {"error": f"partition {number} of {found.name} has no leader: no broker can read it now"}
    corrupt: dict[str, None] = {}
    read = partial(_read_past_corrupt, found.name, number, corrupt)
    if offset is None:
        page = paging.before(read, bounds, bounds.high_watermark if end is None else end)
    else:
        try:
            page = paging.after(read, bounds, offset)
        except OffsetOutOfRange as error:
            context["warning"] = str(error)
            page = paging.after(read, bounds, error.first)
    codecs = _codecs(found.name, page.records)
    decoder = new_decoder()
    return context | {
        "corrupt": list(corrupt),
        "partition": bounds,
        "records": [_shelf(record, codecs, decoder) for record in page.records],
        "is_before": offset is None,
        "links": _links(found.name, bounds, page),
    }


def _read_past_corrupt(
    topic: str, partition: int, corrupt: dict[str, None], offset: int, limit: int
) -> list[StoredRecord]:
    """Records as the log reads them, but what cannot be read is noted in `corrupt` and passed over like a gap."""
    for _ in range(MOST_CORRUPT):
        try:
            return current_log().read(topic, partition, offset, limit)
        except CorruptRecord as error:
            corrupt[str(error)] = None
            offset = error.next_offset
    return []


def _links(topic: str, bounds: PartitionInfo, page: Page) -> dict[str, str]:
    """Addresses of the neighbouring pages; one that would be empty is left out."""
    links = {}
    if page.older is not None:
        links["oldest"] = address(topic, bounds.id, bounds.first_offset)
        links["older"] = address(topic, bounds.id, before=page.older)
    if page.newer is not None:
        links["newer"] = address(topic, bounds.id, page.newer)
        links["newest"] = address(topic, bounds.id)
    return links


def address(topic: str, partition: int, offset: int | None = None, before: int | None = None) -> str:
    """The browser's page that begins at one offset, or ends before another, or has the newest records."""
    place: dict[str, Any] = {"topic": topic, "partition": partition, "offset": offset, "before": before}
    query = urlencode({name: value for name, value in place.items() if value is not None})
    return f"{reverse('admin:topics_records')}?{query}"


def _codecs(topic: str, stored: list[StoredRecord]) -> list[tuple[int, str]]:
    """Base offset and codec of the batches these records came from, newest first; none for another log's."""
    if not stored or not is_embedded():
        return []
    batches = RecordBatch.objects.filter(
        partition__topic__name=topic, partition__number=stored[0].partition, base_offset__lte=stored[-1].offset
    )
    # A batch holds at least one record.
    return list(batches.order_by("-base_offset").values_list("base_offset", "codec")[: len(stored)])


def _shelf(record: StoredRecord, codecs: list[tuple[int, str]], decoder: Decoder) -> Shelf:
    return Shelf(
        offset=record.offset,
        timestamp=record.timestamp,
        moment=moment(record.timestamp),
        codec=next((codec for base, codec in codecs if base <= record.offset), ""),
        key=show(record.key, decoder),
        value=show(record.value, decoder),
        headers=[(name, show(content, decoder)) for name, content in record.headers],
    )
