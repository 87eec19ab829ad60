"""The admin's record browser."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe

from core import audit
from core.errors import StorageError
from topics.admin import paging, record_links, scan
from topics.admin.paging import PAGE
from topics.admin.shown_records import ShownRecord, all_shown, codecs_of
from topics.log import current_log
from topics.log.errors import CorruptRecord, OffsetOutOfRange
from topics.log.records import PartitionInfo, StoredRecord, TopicInfo

MAX_OFFSET = 2**63 - 1
# With more topics than this, the form has a text field instead of a list.
MOST_LISTED = 500
# How many consecutive corrupt batches one page skips: each costs a read of a few milliseconds.
MOST_CORRUPT = 100


class PlaceForm(forms.Form):
    topic = forms.CharField(max_length=249, required=False)
    partition = forms.IntegerField(min_value=0, max_value=2**31 - 1, required=False)
    offset = forms.IntegerField(min_value=-MAX_OFFSET, max_value=MAX_OFFSET, required=False)
    before = forms.IntegerField(min_value=0, max_value=MAX_OFFSET, required=False)
    time = forms.CharField(max_length=40, required=False)
    find = forms.CharField(max_length=200, required=False, strip=False)
    where = forms.ChoiceField(choices=[(name, name) for name in scan.WHERE], required=False)
    # Where a page of several partitions ends, or begins.
    until = forms.CharField(max_length=2000, required=False)
    since = forms.CharField(max_length=2000, required=False)
    live = forms.BooleanField(required=False)

    def clean_time(self) -> int | None:
        """Return milliseconds since 1970. A time without a zone is UTC."""
        text: str = self.cleaned_data["time"].strip()
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
            return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000))
        except (ValueError, OverflowError):
            raise ValidationError("expected a time such as 2026-01-31T12:00") from None

    def clean_until(self) -> dict[int, int]:
        return _places(self.cleaned_data["until"])

    def clean_since(self) -> dict[int, int]:
        return _places(self.cleaned_data["since"])


def _places(text: str) -> dict[int, int]:
    try:
        return scan.decode(text)
    except ValueError:
        raise ValidationError("expected PARTITION:OFFSET, separated by commas") from None


@require_safe
def records(request: HttpRequest) -> HttpResponse:
    """Show a page of records, by default the newest ones of the topic.

    1. Validate the requested position and fill in defaults.
    2. Read a page there. If the offset is no longer kept, warn and start at the first kept offset.
    3. Show each record's bytes as text, with links to the neighboring pages.
    """
    if not request.user.has_perm("topics.view_recordbatch"):
        raise PermissionDenied
    form = PlaceForm(request.GET)
    name = form.cleaned_data["topic"] if form.is_valid() else ""
    context = {
        **admin.site.each_context(request),
        "title": "Record browser",
        "form": form,
        "page_size": PAGE,
        "where": scan.WHERE,
        "may_produce": request.user.has_perm("producer.add_producerequest"),
    }
    try:
        names = current_log().topic_names()
        context |= {"has_topics": bool(names), "names": names if len(names) <= MOST_LISTED else None}
        if name:
            context |= _page(current_log().topic(name), form.cleaned_data)
            if "HX-Request" not in request.headers:
                _note(name, context.get("records", []))
    except StorageError as error:
        context["error"] = str(error)
    return TemplateResponse(request, "topics/records.html", context)


def _note(topic: str, shown: list[ShownRecord]) -> None:
    """Note which records were shown. The pages that refresh themselves are those of one visit."""
    offsets: dict[int, list[int]] = {}
    for record in shown:
        offsets.setdefault(record.partition, []).append(record.offset)
    places = {str(number): [min(found), max(found)] for number, found in offsets.items()}
    if places:
        audit.note("payload_viewed", "topic", topic, offsets=places)


def _page(found: TopicInfo, place: dict[str, Any]) -> dict[str, Any]:
    partition, offset = place["partition"], place["offset"]
    context: dict[str, Any] = {"topic": found}
    if partition is not None and partition >= len(found.partitions):
        return context | {"error": f"{found.name} has no partition {partition}, only 0 to {len(found.partitions) - 1}"}
    is_placed = offset is not None or place["before"] is not None
    if partition is None and (len(found.partitions) == 1 or is_placed):
        partition = max(found.partitions, key=lambda bounds: bounds.kept).id
    if partition is None or place["find"]:
        chosen = found.partitions if partition is None else [found.partitions[partition]]
        return context | _several(found, chosen, place)
    return context | _one(found, found.partitions[partition], place)


def _one(found: TopicInfo, bounds: PartitionInfo, place: dict[str, Any]) -> dict[str, Any]:
    """Return a page of one partition."""
    offset, end = place["offset"], place["before"]
    if not bounds.is_online:
        return {"error": f"partition {bounds.id} of {found.name} has no leader and cannot be read now"}
    context: dict[str, Any] = {}
    if place["time"] is not None and offset is None:
        at = current_log().offset_at(found.name, bounds.id, place["time"])
        offset = bounds.high_watermark if at is None else at
    corrupt: dict[str, None] = {}
    read = partial(_read_past_corrupt, found.name, bounds.id, corrupt)
    if offset is None:
        page = paging.before(read, bounds, bounds.high_watermark if end is None else end)
    else:
        try:
            page = paging.after(read, bounds, offset)
        except OffsetOutOfRange as error:
            context["warning"] = str(error)
            page = paging.after(read, bounds, error.first)
    codecs = codecs_of(found.name, page.records)
    return context | {
        "corrupt": list(corrupt),
        "partition": bounds,
        "records": all_shown(found.name, page.records, codecs),
        "is_before": offset is None,
        "is_newest": offset is None and end is None,
        "links": record_links.of_one(found.name, bounds, page),
    }


def _several(found: TopicInfo, chosen: Sequence[PartitionInfo], place: dict[str, Any]) -> dict[str, Any]:
    """Return a page of several partitions, or of what matches in one or several."""
    online = [bounds for bounds in chosen if bounds.is_online][: scan.MOST_PARTITIONS]
    corrupt: dict[str, None] = {}
    reads = {one.id: partial(_read_past_corrupt, found.name, one.id, corrupt) for one in online}
    context: dict[str, Any] = {"is_several": True, "left_out": len(chosen) - len(online)}
    until = {one.id: min(place["until"].get(one.id, one.high_watermark), one.high_watermark) for one in online}
    if place["find"]:
        where = place["where"] or scan.WHERE[0]
        page = scan.matching(reads, online, until, scan.matcher(place["find"], where))
        context |= {"scanned": page.scanned, "unscanned": page.left}
    elif place["since"] or place["time"] is not None:
        page = scan.oldest(reads, online, place["since"] or _starts(found.name, online, place["time"]))
    else:
        page = scan.newest(reads, online, until)
    return context | {
        "corrupt": list(corrupt),
        "records": all_shown(found.name, page.records, []),
        "is_newest": not (place["until"] or place["since"] or place["find"] or place["time"] is not None),
        "links": record_links.of_several(found.name, page, place),
    }


def _starts(topic: str, chosen: Sequence[PartitionInfo], timestamp: int) -> dict[int, int]:
    """Return where records from this time on begin, in each partition that has some."""
    found = ((one.id, current_log().offset_at(topic, one.id, timestamp)) for one in chosen)
    return {number: offset for number, offset in found if offset is not None}


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


@require_safe
def download(request: HttpRequest) -> HttpResponse:
    """Return the value of one record as it is stored."""
    if not request.user.has_perm("topics.view_recordbatch"):
        raise PermissionDenied
    form = PlaceForm(request.GET)
    if not form.is_valid():
        raise Http404
    topic, partition, offset = (form.cleaned_data[name] for name in ("topic", "partition", "offset"))
    if partition is None or offset is None:
        raise Http404
    try:
        found = current_log().read(topic, partition, offset, 1)
    except StorageError as error:
        return HttpResponse(f"{error}\n", status=503, content_type="text/plain")
    if not found or found[0].offset != offset:
        raise Http404
    audit.note("payload_viewed", "topic", topic, offsets={str(partition): [offset, offset]})
    name = quote(f"{topic}-{partition}-{offset}.bin", safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return HttpResponse(found[0].value or b"", content_type="application/octet-stream", headers=headers)
