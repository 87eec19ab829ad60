"""Read the embedded log's batches, verifying each batch before returning its records.

The queries are SQL, because Django takes several times as long to write them as the database takes to run them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db import connection

from topics.log import batches
from topics.log.batches import Corrupt, Intact
from topics.log.embedded.verified import LEAST_BYTES, VerifiedBatches
from topics.log.errors import CorruptRecord, TopicNotFound
from topics.log.records import StoredRecord
from topics.log.validation import MAX_READ_BYTES

_BOUNDS = """
SELECT partition.id, partition.number, partition.first_offset, partition.next_offset
FROM topics_partition AS partition JOIN topics_topic AS topic ON topic.id = partition.topic_id
WHERE topic.name = %s AND partition.number = %s
"""
# From the batch that holds the first offset on.
_PLACES = """
SELECT id, base_offset, record_count, stored_bytes, max_timestamp FROM topics_recordbatch
WHERE partition_id = %s AND base_offset >= COALESCE(
    (SELECT MAX(base_offset) FROM topics_recordbatch WHERE partition_id = %s AND base_offset <= %s), %s
)
ORDER BY base_offset LIMIT %s
"""
# The first batch with a record of this time or later. Timestamps are the clients', and in any order.
_AT = """
SELECT base_offset, record_count FROM topics_recordbatch
WHERE partition_id = %s AND base_offset >= %s AND max_timestamp >= %s ORDER BY base_offset LIMIT 1
"""
_PAYLOADS = "SELECT id, payload FROM topics_recordbatch WHERE id IN ({})"


class Bounds(NamedTuple):
    """A partition, its first kept offset, and the next one to be written."""

    pk: int
    number: int
    first_offset: int
    next_offset: int


class _Place(NamedTuple):
    """A batch's row without its payload, and the base offset of the next batch."""

    pk: int
    base: int
    records: int
    size: int
    max_timestamp: int
    end: int

    @property
    def identity(self) -> tuple[int, ...]:
        # More than the key, which a database that was restored from a backup gives to another batch.
        return self[:-1]


def bounds(topic: str, number: int) -> Bounds:
    """Raises TopicNotFound."""
    found = _query(_BOUNDS, [topic, number])
    if not found:
        raise TopicNotFound(topic)
    return Bounds(*found[0])


def read(topic: str, partition: Bounds, start: int, limit: int, verified: VerifiedBatches) -> list[StoredRecord]:
    """Return records from `start` on, at most `limit` and about MAX_READ_BYTES, up to the first corrupt batch.

    Raises CorruptRecord if there are no records before that batch.
    """
    places = _places(partition, start, limit)
    stored = _stored(places, verified)
    records: list[StoredRecord] = []
    expected = start
    for place in places:
        first, last = place.base, place.end - 1
        try:
            if place.base > expected:
                first, last = expected, place.base - 1
                raise Corrupt("they are missing")
            wanted = max(0, start + limit - max(start, place.base))
            found = _decoded(place, stored.get(place.pk), verified, partition.number, start, wanted)
        except Corrupt as error:
            if records:
                break
            raise CorruptRecord(topic, partition.number, first, last, str(error)) from error
        records += found
        expected = max(start, place.base + place.records)
    if not records and start < partition.next_offset:
        raise CorruptRecord(topic, partition.number, start, partition.next_offset - 1, "they are missing")
    return records


def offset_at(topic: str, partition: Bounds, timestamp_ms: int, verified: VerifiedBatches) -> int | None:
    """Return the offset of the first record of this time or later, or None. Raises CorruptRecord."""
    found = _query(_AT, [partition.pk, partition.first_offset, timestamp_ms])
    if not found:
        return None
    base, count = found[0]
    records = read(topic, partition, base, count, verified)
    return next((record.offset for record in records if record.timestamp >= timestamp_ms), None)


def _places(partition: Bounds, start: int, limit: int) -> list[_Place]:
    """Return the rows of the batches with offsets `start` to `start + limit`, as many as MAX_READ_BYTES allows."""
    if start >= partition.next_offset:
        return []
    # A batch has at least one record. Of the two extra rows, one may begin before `start`; one shows the last one's end
    found = _query(_PLACES, [partition.pk, partition.pk, start, start, limit + 2])
    bases = [row[1] for row in found]
    ends = [*bases[1:], max(partition.next_offset, bases[-1] + 1)] if bases else []
    wanted: list[_Place] = []
    room = MAX_READ_BYTES
    for row, end in zip(found, ends, strict=True):
        place = _Place._make((*row, end))
        room -= place.size
        if wanted and (room < 0 or place.base >= start + limit):
            break
        wanted.append(place)
    return wanted


def _stored(places: Sequence[_Place], verified: VerifiedBatches) -> dict[int, Any]:
    """Return what is stored by primary key: batches that are still in memory, or else payloads."""
    large = (place for place in places if place.size >= LEAST_BYTES)
    found: dict[int, Any] = {place.pk: batch for place in large if (batch := verified.get(place.identity))}
    keys = [place.pk for place in places if place.pk not in found]
    if keys:
        found |= _query(_PAYLOADS.format(", ".join(["%s"] * len(keys))), keys)
    return found


def _decoded(
    place: _Place, stored: Any, verified: VerifiedBatches, number: int, start: int, limit: int
) -> list[StoredRecord]:
    """Return a batch's records from `start` on, at most `limit`. Raises Corrupt."""
    if stored is None:
        raise Corrupt("they are missing")
    if place.size < LEAST_BYTES:
        return batches.decode(bytes(stored), number, place.base, place.records, start, limit)
    if isinstance(stored, Intact):
        return stored.records(number, start, limit)
    batch = Intact(bytes(stored), place.base, place.records)
    verified.add(place.identity, batch)
    return batch.records(number, start, limit)


def _query(statement: str, values: Sequence[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())
