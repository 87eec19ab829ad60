"""Look for records in several partitions at once: the newest ones, those from a time on, or those that match a text."""

import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from topics.admin import paging
from topics.admin.paging import PAGE, Read
from topics.log.records import PartitionInfo, StoredRecord

# With more partitions than this, one has to be chosen.
MOST_PARTITIONS = 50
# How many records one page looks through, and for how long.
MOST_SCANNED = 10_000
SCAN_SECONDS = 2.0
STEP = 500
WHERE = ("anything", "key", "value", "headers")
Matches = Callable[[StoredRecord], bool]


class Found(msgspec.Struct):
    """Records of several partitions, and where the pages before and after begin in each, or None."""

    records: list[StoredRecord]
    older: dict[int, int] | None = None
    newer: dict[int, int] | None = None
    scanned: int = 0
    left: int = 0


def newest(reads: Mapping[int, Read], bounds: Iterable[PartitionInfo], before: Mapping[int, int]) -> Found:
    """Return the newest records before an offset in each partition, by default all."""
    pages = {one.id: paging.before(reads[one.id], one, before.get(one.id, one.high_watermark)) for one in bounds}
    every = [record for page in pages.values() for record in page.records]
    # Records of a partition stay in order, even if their timestamps are not.
    every.sort(key=lambda record: (record.timestamp, record.partition, record.offset))
    chosen = every[-PAGE:]
    kept = {(record.partition, record.offset) for record in chosen}
    for number, page in pages.items():
        # Whatever is shown of a partition is its newest part.
        shown = [index for index, record in enumerate(page.records) if (number, record.offset) in kept]
        if shown:
            kept |= {(number, record.offset) for record in page.records[shown[0] :]}
    records = [record for record in every if (record.partition, record.offset) in kept]
    ends: dict[int, int] = {}
    has_older = False
    for number, page in pages.items():
        mine = [record.offset for record in records if record.partition == number]
        ends[number] = min(mine) if mine else before.get(number, _end(bounds, number))
        has_older = has_older or page.older is not None or len(mine) < len(page.records)
    return Found(records, older=ends if has_older else None)


def _end(bounds: Iterable[PartitionInfo], number: int) -> int:
    return next(one.high_watermark for one in bounds if one.id == number)


def oldest(reads: Mapping[int, Read], bounds: Iterable[PartitionInfo], start: Mapping[int, int]) -> Found:
    """Return the first records from an offset on in each partition that has one."""
    pages = {one.id: paging.after(reads[one.id], one, start[one.id]) for one in bounds if one.id in start}
    every = [record for page in pages.values() for record in page.records]
    every.sort(key=lambda record: (record.timestamp, record.partition, record.offset))
    kept: dict[int, int] = {}
    for record in every[:PAGE]:
        kept[record.partition] = max(kept.get(record.partition, record.offset), record.offset)
    records = [record for record in every if record.offset <= kept.get(record.partition, -1)]
    ends = {number: kept[number] + 1 if number in kept else start[number] for number in pages}
    has_newer = any(
        page.newer is not None or any(record.offset >= ends[number] for record in page.records)
        for number, page in pages.items()
    )
    return Found(records, newer=ends if has_newer else None)


def matching(
    reads: Mapping[int, Read], bounds: list[PartitionInfo], before: Mapping[int, int], matches: Matches
) -> Found:
    """Return the newest matching records, looking through at most MOST_SCANNED for at most SCAN_SECONDS."""
    deadline = time.monotonic() + SCAN_SECONDS
    tops = {one.id: min(before.get(one.id, one.high_watermark), one.high_watermark) for one in bounds}
    first = {one.id: one.first_offset for one in bounds}
    found: list[StoredRecord] = []
    scanned = 0
    while scanned < MOST_SCANNED and len(found) < PAGE and time.monotonic() < deadline:
        left = [number for number in tops if tops[number] > first[number]]
        if not left:
            break
        # A step in each partition in turn, so that none is left out.
        for number in left:
            start = max(first[number], tops[number] - STEP)
            records = list(_between(reads[number], start, tops[number]))
            scanned += len(records)
            found += filter(matches, records)
            tops[number] = start
    left_over = sum(tops[number] - first[number] for number in tops)
    found.sort(key=lambda record: (record.timestamp, record.partition, record.offset))
    return Found(found, older=tops if left_over else None, scanned=scanned, left=left_over)


def _between(read: Read, start: int, end: int) -> Iterable[StoredRecord]:
    """One read returns only as many bytes as fit."""
    while start < end:
        records = [record for record in read(start, end - start) if record.offset < end]
        if not records:
            return
        yield from records
        start = records[-1].offset + 1


def matcher(text: str, where: str) -> Matches:
    """Match a part of the key, value or headers, as UTF-8. A whole key in quotes is the same as one without."""
    wanted = text.encode()

    def in_headers(record: StoredRecord) -> bool:
        return any(wanted in name.encode() or wanted in (value or b"") for name, value in record.headers)

    def matches(record: StoredRecord) -> bool:
        return (
            (where in ("anything", "key") and wanted in (record.key or b""))
            or (where in ("anything", "value") and wanted in (record.value or b""))
            or (where in ("anything", "headers") and in_headers(record))
        )

    return matches


def encode(places: Mapping[int, int]) -> str:
    return ",".join(f"{number}:{offset}" for number, offset in sorted(places.items()))


def decode(text: str) -> dict[int, int]:
    """Return the places in text that `encode` has made. Raises ValueError."""
    found: dict[int, int] = {}
    for part in filter(None, text.split(",")):
        number, _, offset = part.partition(":")
        if not (number + offset).isascii() or not number.isdigit() or not offset.isdigit() or len(part) > 40:
            raise ValueError(text)
        found[int(number)] = int(offset)
    return found
