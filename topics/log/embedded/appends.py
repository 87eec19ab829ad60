"""Append the batches of all requests that commit together, with one claim of offsets per partition."""

from collections.abc import Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any, NamedTuple

from django.db import connection

from core import crashes
from core.database.statements import native
from core.errors import StorageDamaged
from topics.log import batches
from topics.log.contract import Bookkeeping, Results
from topics.log.errors import TopicNotFound
from topics.log.records import RecordMetadata, Write

_CLAIM = """
UPDATE topics_partition SET next_offset = next_offset + %s, stored_bytes = stored_bytes + %s
WHERE id = %s AND topic_id IS NOT NULL RETURNING next_offset
"""
_INSERT = """
INSERT INTO topics_recordbatch (partition_id, base_offset, record_count, codec, max_timestamp, stored_bytes, payload)
VALUES (%s, %s, %s, %s, %s, %s, %s)
"""


_timestamp_of = attrgetter("timestamp")


class Batch(NamedTuple):
    """A write whose records are encoded and compressed before its offsets are known."""

    partition_id: int
    write: Write
    payload: bytearray
    max_timestamp: int
    # Before compression.
    plain_bytes: int


class Append:
    """The job that appends one request's batches, and runs its bookkeeping."""

    def __init__(self, prepared: Sequence[Batch], bookkeeping: Bookkeeping[Any]) -> None:
        self.batches = prepared
        self.bookkeeping = bookkeeping

    def __call__(self) -> Any:
        return self.run_together([self])[0]

    @staticmethod
    def run_together(appends: Sequence["Append"]) -> list[Any]:
        """Append all batches in the current transaction. Return what each bookkeeping returns.

        Raises TopicNotFound, StorageDamaged.
        """
        crashes.at("append.before")
        with connection.wrap_database_errors:
            cursor = connection.connection.cursor()
            next_offsets = _claim(cursor, appends)
            rows: list[list[Any]] = []
            results = [_placed(append, next_offsets, rows) for append in appends]
            try:
                cursor.executemany(native(_INSERT), rows)
            except connection.Database.IntegrityError as error:  # type: ignore[attr-defined]
                raise _damaged(appends[0]) from error
        crashes.at("append.after")
        return [append.bookkeeping(result) for append, result in zip(appends, results, strict=True)]


def _claim(cursor: Any, appends: Sequence[Append]) -> dict[int, int]:
    """Claim offsets for all batches. Return the first one by partition."""
    claims: dict[int, list[int]] = {}
    for append in appends:
        for batch in append.batches:
            claim = claims.setdefault(batch.partition_id, [0, 0])
            claim[0] += len(batch.write.records)
            claim[1] += len(batch.payload)
    next_offsets: dict[int, int] = {}
    # Every transaction locks partitions in the same order, to avoid deadlocks.
    for partition_id in sorted(claims):
        count, size = claims[partition_id]
        row = cursor.execute(native(_CLAIM), [count, size, partition_id]).fetchone()
        if row is None:
            raise TopicNotFound(_topic_of(partition_id, appends))
        next_offsets[partition_id] = row[0] - count
    return next_offsets


def _topic_of(partition_id: int, appends: Sequence[Append]) -> str:
    batches = (batch for append in appends for batch in append.batches)
    return next(batch.write.topic for batch in batches if batch.partition_id == partition_id)


def _placed(append: Append, next_offsets: dict[int, int], rows: list[list[Any]]) -> Results:
    """Give an append's batches their offsets, and add their rows. Return the metadata of its records."""
    results: Results = []
    for partition_id, write, payload, max_timestamp, _ in append.batches:
        base, count = next_offsets[partition_id], len(write.records)
        next_offsets[partition_id] = base + count
        placed = bytes(batches.place(payload, base))
        rows.append([partition_id, base, count, write.codec, max_timestamp, len(placed), placed])
        timestamps = map(_timestamp_of, write.records)
        results.append(list(map(RecordMetadata, repeat(write.partition), range(base, base + count), timestamps)))
    return results


def _damaged(append: Append) -> StorageDamaged:
    places = " or ".join(f"partition {batch.write.partition} of topic {batch.write.topic}" for batch in append.batches)
    return StorageDamaged(
        f"{places} already has a batch at its next offset; run takhin check_log to find out what is wrong"
    )
