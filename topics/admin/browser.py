"""The admin's record browser."""

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

from core.errors import StorageError
from core.formatting import moment
from topics.admin import paging
from topics.admin.paging import PAGE, Page
from topics.admin.rendering import Shown, show
from topics.decoders import Decoder, new_decoder
from topics.log import current_log
from topics.log.embedded.log import is_embedded
from topics.log.errors import CorruptRecord, OffsetOutOfRange
from topics.log.records import PartitionInfo, StoredRecord, TopicInfo
from topics.models import RecordBatch

MAX_OFFSET = 2**63 - 1
# With more topics than this, the form has a text field instead of a list.
MOST_LISTED = 500
# How many consecutive corrupt batches one page skips: each costs a read of a few milliseconds.
MOST_CORRUPT = 100


class ShownRecord(msgspec.Struct, frozen=True):
    """A record as shown on the page."""

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
    """Show a page of records, by default the newest ones.

    1. Validate the requested position and fill in defaults.
    2. Read a page there. If the offset is no longer kept, warn and start at the first kept offset.
    3. Show each record's bytes as text, with links to the neighboring pages.
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
    except StorageError as error:
        context["error"] = str(error)
    return TemplateResponse(request, "topics/records.html", context)


def _page(found: TopicInfo, place: dict[str, Any]) -> dict[str, Any]:
    partition, offset, end = place["partition"], place["offset"], place["before"]
    number = max(found.partitions, key=lambda bounds: bounds.kept).id if partition is None else partition
    context: dict[str, Any] = {"topic": found}
    if number >= len(found.partitions):
        return context | {"error": f"{found.name} has no partition {number}, only 0 to {len(found.partitions) - 1}"}
    bounds = found.partitions[number]
    if not bounds.is_online:
        return context | {"error": f"partition {number} of {found.name} has no leader and cannot be read now"}
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
        "records": [_shown(record, codecs, decoder) for record in page.records],
        "is_before": offset is None,
        "links": _links(found.name, bounds, page),
    }


def _read_past_corrupt(
    topic: str, partition: int, corrupt: dict[str, None], offset: int, limit: int
) -> list[StoredRecord]:
    """Read records from the log. Corrupt ones are noted in `corrupt` and skipped like a gap."""
    for _ in range(MOST_CORRUPT):
        try:
            return current_log().read(topic, partition, offset, limit)
        except CorruptRecord as error:
            corrupt[str(error)] = None
            offset = error.next_offset
    return []


def _links(topic: str, bounds: PartitionInfo, page: Page) -> dict[str, str]:
    """Return the URLs of the neighboring pages, except empty ones."""
    links = {}
    if page.older is not None:
        links["oldest"] = address(topic, bounds.id, bounds.first_offset)
        links["older"] = address(topic, bounds.id, before=page.older)
    if page.newer is not None:
        links["newer"] = address(topic, bounds.id, page.newer)
        links["newest"] = address(topic, bounds.id)
    return links


def address(topic: str, partition: int, offset: int | None = None, before: int | None = None) -> str:
    """Return the URL of the page that starts at `offset` or ends before `before`; by default, the newest records."""
    place: dict[str, Any] = {"topic": topic, "partition": partition, "offset": offset, "before": before}
    query = urlencode({name: value for name, value in place.items() if value is not None})
    return f"{reverse('admin:topics_records')}?{query}"


def _codecs(topic: str, stored: list[StoredRecord]) -> list[tuple[int, str]]:
    """Return the base offsets and codecs of the records' batches, newest first; empty unless the log is embedded."""
    if not stored or not is_embedded():
        return []
    batches = RecordBatch.objects.filter(
        partition__topic__name=topic, partition__number=stored[0].partition, base_offset__lte=stored[-1].offset
    )
    # A batch has at least one record.
    return list(batches.order_by("-base_offset").values_list("base_offset", "codec")[: len(stored)])


def _shown(record: StoredRecord, codecs: list[tuple[int, str]], decoder: Decoder) -> ShownRecord:
    return ShownRecord(
        offset=record.offset,
        timestamp=record.timestamp,
        moment=moment(record.timestamp),
        codec=next((codec for base, codec in codecs if base <= record.offset), ""),
        key=show(record.key, decoder),
        value=show(record.value, decoder),
        headers=[(name, show(content, decoder)) for name, content in record.headers],
    )
