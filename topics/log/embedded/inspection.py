"""Scan the embedded log batch by batch, while it is in use, and report problems."""

from collections.abc import Callable, Iterator
from typing import Any

from django.db.models import F, OuterRef, Subquery, Sum
from django.db.models.functions import Length

from core.database.driver_errors import translated
from core.errors import StorageUnavailable
from topics.log import batches
from topics.log.batches import Corrupt
from topics.models import Partition, RecordBatch

# The rows and bytes loaded at a time, which bound the memory of a scan.
PAGE = 500
PAGE_BYTES = 8 * 1024 * 1024
# A partition full of corrupt batches must not fill the memory with reports.
MOST_TOLD = 1000

_ROW = ("pk", "base_offset", "record_count", "stored_bytes", "size")


class Inspection:
    """The scan of one partition. After `run`, `problems` has a sentence for each problem."""

    def __init__(self, partition: Partition, advance: Callable[[int], object]) -> None:
        self._partition = partition
        self._advance = advance
        self._found: list[tuple[int, str]] = []
        self._expected = partition.first_offset
        self.untold = 0
        self.batches = self.records = self.bytes = 0

    @property
    def problems(self) -> list[str]:
        return [text for _, text in self._found]

    def run(self) -> None:
        try:
            with translated():
                for row, payload in _rows(self._partition):
                    self._look_at(row, payload)
                self._end()
        except StorageUnavailable as error:
            self._tell(self._expected, f"cannot be read from offset {self._expected} on: {error}")

    def _look_at(self, row: dict[str, Any], payload: bytes) -> None:
        base, count = row["base_offset"], row["record_count"]
        last = base + count - 1
        if base > self._expected:
            self._tell(base - 1, f"{_offsets(self._expected, base - 1)} are missing")
        elif base < self._expected:
            self._tell(last, f"the batch at offset {base} should begin at offset {self._expected}")
        if row["stored_bytes"] != len(payload):
            told = f"the batch has {len(payload)} bytes, but stored_bytes is {row['stored_bytes']}"
            self._tell(last, f"{_offsets(base, last)}: {told}")
        try:
            batches.check(payload, base, count)
        except Corrupt as error:
            self._tell(last, f"{_offsets(base, last)}: {error}")
        self._expected = max(self._expected, base + count)
        self.batches += 1
        self.records += count
        self.bytes += row["stored_bytes"]
        self._advance(count)

    def _end(self) -> None:
        """Check the counters, and drop problems in records that retention has deleted meanwhile."""
        now = _with_counts(self._partition)
        if now is None:
            self._found = []
            return
        self._found = [(last, text) for last, text in self._found if last >= now.first_offset]
        if now.begin is not None and now.begin < now.first_offset:
            self._tell(now.first_offset, f"first_offset is {now.first_offset}, but the batches begin at {now.begin}")
        end = now.first_offset if now.end is None else now.end
        if end < now.next_offset:
            self._tell(now.next_offset, f"{_offsets(end, now.next_offset - 1)} are missing at the end")
        elif end > now.next_offset:
            self._tell(end, f"next_offset is {now.next_offset}, but the batches end at {end}")
        if (now.size or 0) != now.stored_bytes:
            self._tell(end, f"stored_bytes is {now.stored_bytes}, but the batches add up to {now.size or 0}")

    def _tell(self, last: int, text: str) -> None:
        if len(self._found) < MOST_TOLD:
            self._found.append((last, text))
        else:
            self.untold += 1


def _rows(partition: Partition) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield every batch in order, a page at a time: a long-running statement would block SQLite's writer."""
    kept = partition.batches.order_by("base_offset").annotate(size=Length("payload"))
    last = -1
    while rows := list(kept.filter(base_offset__gt=last).values(*_ROW)[:PAGE]):
        for part in _parts(rows):
            payloads = dict(RecordBatch.objects.filter(pk__in=[row["pk"] for row in part]).values_list("pk", "payload"))
            # Skip batches that retention has deleted meanwhile.
            yield from ((row, bytes(payloads[row["pk"]])) for row in part if row["pk"] in payloads)
        last = rows[-1]["base_offset"]


def _parts(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    room = PAGE_BYTES
    for row in rows:
        room -= row["size"]
        if part and room < 0:
            yield part
            part, room = [], PAGE_BYTES - row["size"]
        part.append(row)
    yield part


def _with_counts(partition: Partition) -> Any:
    """Load the partition with its batches' `begin`, `end` and `size`, in one statement so that they are consistent."""
    mine = RecordBatch.objects.filter(partition=OuterRef("pk"))
    begin = mine.order_by("base_offset").values("base_offset")[:1]
    end = mine.order_by("-base_offset").annotate(end=F("base_offset") + F("record_count")).values("end")[:1]
    size = mine.order_by().values("partition").annotate(size=Sum("stored_bytes")).values("size")
    counted = Partition.objects.annotate(begin=Subquery(begin), end=Subquery(end), size=Subquery(size))
    return counted.filter(pk=partition.pk).first()


def _offsets(first: int, last: int) -> str:
    return f"offset {first}" if first == last else f"offsets {first} to {last}"
