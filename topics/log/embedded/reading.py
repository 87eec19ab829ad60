"""Read the embedded log's batches, verifying each batch before returning its records."""

from typing import NamedTuple

from topics.log import batches
from topics.log.batches import Corrupt
from topics.log.contract import MAX_READ_BYTES
from topics.log.errors import CorruptRecord
from topics.log.records import StoredRecord
from topics.models import Partition


class _Place(NamedTuple):
    """A batch's row without its payload, and the base offset of the next batch."""

    pk: int
    base: int
    records: int
    size: int
    end: int


def read(topic: str, partition: Partition, start: int, limit: int) -> list[StoredRecord]:
    """Return records from `start` on, at most `limit` and about MAX_READ_BYTES, up to the first corrupt batch.

    Raises CorruptRecord if there are no records before that batch.
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
            wanted = max(0, start + limit - max(start, place.base))
            payload = bytes(payloads[place.pk])
            found = batches.decode(payload, partition.number, place.base, place.records, start, wanted)
        except Corrupt as error:
            if records:
                break
            raise CorruptRecord(topic, partition.number, first, last, str(error)) from error
        records += found
        expected = max(start, place.base + place.records)
    if not records and start < partition.next_offset:
        raise CorruptRecord(topic, partition.number, start, partition.next_offset - 1, "they are missing")
    return records


def _places(partition: Partition, start: int, limit: int) -> list[_Place]:
    """Return the rows of the batches with offsets `start` to `start + limit`, as many as MAX_READ_BYTES allows."""
    kept = partition.batches.order_by("base_offset")
    holding = kept.filter(base_offset__lte=start).order_by("-base_offset").values_list("base_offset", flat=True).first()
    rows = kept.filter(base_offset__gte=start if holding is None else holding)
    # A batch has at least one record. Of the two extra rows, one may begin before `start`; one shows the last one's end
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
