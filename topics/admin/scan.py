"""Look for records in several partitions at once: the newest ones, those from a time on, or those that match a text."""

import time
from collections import Counter, deque
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
# Keys and values above this end a page early.
MOST_BYTES = 16 * 1024 * 1024
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
    records: list[StoredRecord] = []
    ends: dict[int, int] = {}
    complete: dict[int, int] = {}
    has_older = False
    for one in bounds:
        ends[one.id] = before.get(one.id, one.high_watermark)
        page = paging.before(reads[one.id], one, ends[one.id])
        has_older = has_older or page.older is not None
        complete[one.id] = len(page.records)
        # One partition at a time, because records may be large.
        records = _newest(records + page.records)
    shown = Counter(record.partition for record in records)
    # Backwards, so that the first record of each partition comes last.
    ends |= {record.partition: record.offset for record in sorted(records, key=_place, reverse=True)}
    return Found(records, older=ends if has_older or shown != Counter(complete) else None)


def _newest(records: list[StoredRecord]) -> list[StoredRecord]:
    """Leave out what is older than a page, but nothing between two records of a partition."""
    records.sort(key=_age)
    first: dict[int, int] = {}
    for record in records[-PAGE:]:
        first[record.partition] = min(first.get(record.partition, record.offset), record.offset)
    return [record for record in records if record.partition in first and record.offset >= first[record.partition]]


def oldest(reads: Mapping[int, Read], bounds: Iterable[PartitionInfo], start: Mapping[int, int]) -> Found:
    """Return the first records from an offset on in each partition that has one."""
    records: list[StoredRecord] = []
    ends: dict[int, int] = {}
    complete: dict[int, int] = {}
    has_newer = False
    for one in bounds:
        if one.id in start:
            ends[one.id] = start[one.id]
            page = paging.after(reads[one.id], one, start[one.id])
            has_newer = has_newer or page.newer is not None
            complete[one.id] = len(page.records)
            records = _oldest(records + page.records)
    shown = Counter(record.partition for record in records)
    ends |= {record.partition: record.offset + 1 for record in sorted(records, key=_place)}
    return Found(records, newer=ends if has_newer or shown != Counter(complete) else None)


def _oldest(records: list[StoredRecord]) -> list[StoredRecord]:
    """Leave out what is newer than a page, but nothing between two records of a partition."""
    records.sort(key=_age)
    last: dict[int, int] = {}
    for record in records[:PAGE]:
        last[record.partition] = max(last.get(record.partition, record.offset), record.offset)
    return [record for record in records if record.offset <= last.get(record.partition, -1)]


def _age(record: StoredRecord) -> tuple[int, int, int]:
    return record.timestamp, record.partition, record.offset


def _place(record: StoredRecord) -> tuple[int, int]:
    return record.partition, record.offset


def matching(
    reads: Mapping[int, Read], bounds: list[PartitionInfo], before: Mapping[int, int], matches: Matches
) -> Found:
    """Return the newest matching records, looking through at most MOST_SCANNED for at most SCAN_SECONDS.

    A partition's last STEP may exceed each limit.
    """
    deadline = time.monotonic() + SCAN_SECONDS
    tops = {one.id: min(before.get(one.id, one.high_watermark), one.high_watermark) for one in bounds}
    first = {one.id: one.first_offset for one in bounds}
    found: list[StoredRecord] = []
    scanned = found_bytes = 0
    while scanned < MOST_SCANNED and len(found) < PAGE and found_bytes < MOST_BYTES and time.monotonic() < deadline:
        left = [number for number in tops if tops[number] > first[number]]
        if not left:
            break
        # A step in each partition in turn, so that none is left out.
        for number in left:
            start = max(first[number], tops[number] - STEP)
            # The newest ones. A later page looks for the others again.
            near: deque[StoredRecord] = deque(maxlen=PAGE + 1)
            for record in _between(reads[number], start, tops[number]):
                scanned += 1
                if matches(record):
                    near.append(record)
            if len(near) > PAGE:
                near.popleft()
                start = near[0].offset
            found += near
            found_bytes += sum(len(record.key or b"") + len(record.value or b"") for record in near)
            tops[number] = start
            if found_bytes >= MOST_BYTES or time.monotonic() >= deadline:
                break
    left_over = sum(tops[number] - first[number] for number in tops)
    found.sort(key=_age)
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
