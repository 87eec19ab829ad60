"""The URLs of the record browser's pages, for the rest of the admin and for the pages themselves."""

from typing import Any

from django.urls import reverse
from django.utils.http import urlencode

from topics.admin import scan
from topics.admin.paging import Page
from topics.admin.scan import Found
from topics.log.records import PartitionInfo


def address(topic: str, partition: int, offset: int | None = None, before: int | None = None) -> str:
    """Return the URL of the page that starts at `offset` or ends before `before`; by default, the newest records."""
    return _address(topic, partition=partition, offset=offset, before=before)


def of_one(topic: str, bounds: PartitionInfo, page: Page) -> dict[str, str]:
    """Return the URLs of the neighbors of a page of one partition, except empty ones."""
    links = {}
    if page.older is not None:
        links["oldest"] = address(topic, bounds.id, bounds.first_offset)
        links["older"] = address(topic, bounds.id, before=page.older)
    if page.newer is not None:
        links["newer"] = address(topic, bounds.id, page.newer)
        links["newest"] = address(topic, bounds.id)
    return links


def of_several(topic: str, page: Found, place: dict[str, Any]) -> dict[str, str]:
    """Return the URLs of the neighbors of a page of several partitions, or of a search."""
    kept = {name: place[name] for name in ("partition", "find", "where") if place[name] not in (None, "")}
    links = {}
    if page.older is not None:
        links["more" if place["find"] else "older"] = _address(topic, **kept, until=scan.encode(page.older))
    newer = page.newer if place["find"] or not place["until"] else place["until"]
    if newer is not None:
        links["newer"] = _address(topic, **kept, since=scan.encode(newer))
    if place["until"] or place["since"] or place["time"] is not None:
        links["newest"] = _address(topic, **kept)
    return links


def _address(topic: str, **place: Any) -> str:
    query = urlencode({"topic": topic, **{name: value for name, value in place.items() if value is not None}})
    return f"{reverse('admin:topics_records')}?{query}"
