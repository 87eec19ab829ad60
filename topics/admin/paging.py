"""Read a page of records at a position in a partition. Works with any log: offsets may have gaps of any size."""

from collections.abc import Callable

import msgspec

from topics.log.records import PartitionInfo, StoredRecord

PAGE = 20
# Kafka leaves gaps for control records and compacted records, so a page may span many offsets.
WIDEN = 4
MOST_LOOKED_AT = 500
# Covering all 2^63 offsets takes 30 reads to widen and 60 to halve. A page that is not full by then stays short.
MOST_LOOKS = 100

# Takes an offset and a limit, and returns records.
Read = Callable[[int, int], list[StoredRecord]]


class Page(msgspec.Struct, frozen=True):
    """Records in order. Older ones may exist before the offset `older`, newer ones from the offset `newer` on."""

    records: list[StoredRecord]
    older: int | None
    newer: int | None


def after(read: Read, bounds: PartitionInfo, offset: int) -> Page:
    """Return the first page from an offset on; a negative offset counts from the end. Raises OffsetOutOfRange."""
    found = read(offset, PAGE + 1)
    records = found[:PAGE]
    start = offset
    if offset < 0:
        start = records[0].offset if records else bounds.high_watermark
    older = min(start, bounds.high_watermark)
    newer = records[-1].offset + 1 if records else bounds.high_watermark
    # A short result may be the end, or all that fits in one read.
    has_newer = len(found) > PAGE or (newer < bounds.high_watermark and bool(read(newer, 1)))
    return Page(records, older if older > bounds.first_offset else None, newer if has_newer else None)


def before(read: Read, bounds: PartitionInfo, offset: int) -> Page:
    """Return the last page before an offset, reading further back until the page is full."""
    end = top = max(bounds.first_offset, min(offset, bounds.high_watermark))
    found: list[StoredRecord] = []
    # The offset of the nearest record known to be before the top, if any.
    floor = bounds.first_offset
    width = PAGE
    for _ in range(MOST_LOOKS):
        if len(found) >= PAGE or top <= bounds.first_offset:
            break
        start = max(floor, top - width)
        near = [record for record in read(start, min(top - start, MOST_LOOKED_AT)) if record.offset < top]
        if near and _is_any(read, near[-1].offset + 1, top):
            # There are more records than one read returns, and the ones next to the top are wanted.
            floor, width = near[-1].offset, (top - near[-1].offset) // 2
            continue
        found = near + found
        top = start
        floor = bounds.first_offset if top == floor else floor
        width = min(width * WIDEN, max(MOST_LOOKED_AT, (top - floor) // 2))
    records = found[-PAGE:]
    older = records[0].offset if records else top
    has_older = len(found) > PAGE or top > bounds.first_offset
    return Page(records, older if has_older else None, end if end < bounds.high_watermark else None)


def _is_any(read: Read, start: int, end: int) -> bool:
    if start >= end:
        return False
    found = read(start, 1)
    return bool(found) and found[0].offset < end
