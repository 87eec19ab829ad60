"""Read the embedded log's batches back, each verified before any of its records is shown."""

from typing import NamedTuple

from topics import batches
from topics.backends.base import MAX_READ_BYTES
from topics.batches import Corrupt
from topics.errors import CorruptRecord
from topics.models import Partition
from topics.records import StoredRecord


class _Place(NamedTuple):
    """A batch's row without its payload, and where the one after it begins."""

    pk: int
    base: int
    records: int
    size: int
    end: int


def read(topic: str, partition: Partition, start: int, limit: int) -> list[StoredRecord]:
    """The records from `start` on, at most `limit` and about MAX_READ_BYTES of them, up to the first corrupt batch.

    Raises CorruptRecord when there is none before that batch.
    """
    places = _places(partition, start, limit)
    payloads = dict(partition.batches.filter(pk__in=[place.pk for place in places]).values_list("pk", "payload"))
    records: list[StoredRecord] = []
    expected = start
    for place in places:
        first, last = place.base, place.end - 1
        try:
            if place.base > expected:
                first, last = expected, place.base - 1
                raise Corrupt("they are missing")
            if place.pk not in payloads:
                raise Corrupt("they are missing")
            found = batches.decode(bytes(payloads[place.pk]), partition.number, place.base, place.records)
        except Corrupt as error:
            if records:
                break
            raise CorruptRecord(topic, partition.number, first, last, str(error)) from error
        records += [record for record in found if start <= record.offset < start + limit]
        expected = max(start, place.base + place.records)
    if not records and start < partition.next_offset:
        raise CorruptRecord(topic, partition.number, start, partition.next_offset - 1, "they are missing")
    return records


def _places(partition: Partition, start: int, limit: int) -> list[_Place]:
    """The rows of the batches that hold offsets `start` to `start + limit`, as many as MAX_READ_BYTES allows."""
    kept = partition.batches.order_by("base_offset")
    holding = kept.filter(base_offset__lte=start).order_by("-base_offset").values_list("base_offset", flat=True).first()
    rows = kept.filter(base_offset__gte=start if holding is None else holding)
    # A batch holds at least one record; one more begins before `start`, and one shows where the last one ends.
    found = list(rows.values_list("pk", "base_offset", "record_count", "stored_bytes")[: limit + 2])
    ends = [base for _, base, _, _ in found[1:]]
    wanted: list[_Place] = []
    room = MAX_READ_BYTES
    for index, (pk, base, count, size) in enumerate(found):
        room -= size
        if wanted and (room < 0 or base >= start + limit):
            break
        end = ends[index] if index < len(ends) else max(partition.next_offset, base + 1)
        wanted.append(_Place(pk, base, count, size, end))
    return wanted
