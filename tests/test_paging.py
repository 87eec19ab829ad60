"""A partition is walked from end to end, whatever gaps its offsets have and however little one read holds."""

from bisect import bisect_left
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.admin.paging import MOST_LOOKS, PAGE, Page, Read, after, before
from topics.log.records import PartitionInfo, StoredRecord

pytestmark = pytest.mark.no_database

FAR = 2**62


class Partition:
    """Records at these offsets alone; `most` is what one read holds."""

    def __init__(self, offsets: list[int], first: int = 0, end: int | None = None, most: int = 1000) -> None:
        self.offsets = offsets
        self.most = most
        self.bounds = PartitionInfo(0, first, end if end is not None else (offsets[-1] + 1 if offsets else first))
        self.reads = 0

    def read(self, offset: int, limit: int) -> list[StoredRecord]:
        assert limit > 0
        assert offset >= self.bounds.first_offset
        self.reads += 1
        place = bisect_left(self.offsets, offset)
        return [
            StoredRecord(0, found, 0, None, None, []) for found in self.offsets[place : place + min(limit, self.most)]
        ]

    def walk_back(self) -> list[int]:
        """Every offset seen from the newest page to the oldest, in order."""
        page = before(self.read, self.bounds, self.bounds.high_watermark)
        pages = [page]
        while page.older is not None:
            page = before(self.read, self.bounds, page.older)
            pages.append(page)
        return [found for page in reversed(pages) for found in offsets(page)]

    def walk_on(self) -> list[int]:
        page = after(self.read, self.bounds, self.bounds.first_offset)
        found = offsets(page)
        while page.newer is not None:
            page = after(self.read, self.bounds, page.newer)
            found += offsets(page)
        return found


def offsets(page: Page) -> list[int]:
    return [record.offset for record in page.records]


def dense(count: int, start: int = 0) -> list[int]:
    return list(range(start, start + count))


def test_it_works() -> None:
    partition = Partition(dense(50))

    newest = before(partition.read, partition.bounds, 50)

    assert offsets(newest) == dense(20, 30)
    assert (newest.older, newest.newer) == (30, None)
    assert offsets(before(partition.read, partition.bounds, 30)) == dense(20, 10)
    assert offsets(before(partition.read, partition.bounds, 10)) == dense(10)
    assert before(partition.read, partition.bounds, 10).older is None


def test_without_gaps_a_page_is_one_read() -> None:
    partition = Partition(dense(500))

    before(partition.read, partition.bounds, 500)
    after(partition.read, partition.bounds, 100)

    assert partition.reads == 2


# Steps of 2 are Kafka's, with a control record after each; the rest is what compaction may leave.
steps = st.one_of(st.just(1), st.just(2), st.integers(1, 30), st.integers(1, 10**9))


@given(
    gaps=st.lists(st.tuples(steps, st.integers(1, 60)), max_size=12),
    tail=st.integers(0, 300),
    most=st.sampled_from([1, 3, PAGE, 1000]),
)
def test_every_record_is_met_once_both_ways(gaps: list[tuple[int, int]], tail: int, most: int) -> None:
    found: list[int] = []
    place = 0
    for step, count in gaps:
        for _ in range(count):
            place += step
            found.append(place)
    partition = Partition(found, end=place + 1 + tail, most=most)

    assert partition.walk_back() == found
    assert partition.walk_on() == found


@pytest.mark.parametrize("gap", [10**3, 10**6, 10**12, FAR])
@pytest.mark.parametrize("count", [30, 5000, 100_000])
def test_a_gap_of_any_width_is_passed_in_few_reads(gap: int, count: int) -> None:
    partition = Partition(dense(count) + dense(30, gap + count))

    page = before(partition.read, partition.bounds, gap + count + 10)

    assert offsets(page) == dense(10, count - 10) + dense(10, gap + count)
    assert partition.reads < MOST_LOOKS


def test_control_records_at_the_end_are_no_newer_page() -> None:
    """Kafka ends a transaction by a record that no reader sees: the high watermark is past it."""
    partition = Partition(dense(30), end=31)

    assert after(partition.read, partition.bounds, 20).newer is None
    assert after(partition.read, partition.bounds, 5).newer == 25
    assert offsets(before(partition.read, partition.bounds, 31)) == dense(20, 10)


@pytest.mark.parametrize("turn", [after, before])
def test_nothing_kept(turn: Callable[[Read, PartitionInfo, int], Page]) -> None:
    for partition in (Partition([], 0, 0), Partition([], 70, 70)):
        page = turn(partition.read, partition.bounds, partition.bounds.high_watermark)
        assert page == Page([], None, None)


def test_a_place_past_the_end_leads_back() -> None:
    partition = Partition(dense(50))

    assert after(partition.read, partition.bounds, 999) == Page([], 50, None)
    assert offsets(before(partition.read, partition.bounds, 999)) == dense(20, 30)


def test_a_place_below_the_first_kept_offset_leads_on() -> None:
    partition = Partition(dense(50, 100), first=100)

    assert before(partition.read, partition.bounds, 3) == Page([], None, 100)
