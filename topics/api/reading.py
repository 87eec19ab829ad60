"""Read records for a request: those from an offset or a time on, or those with a key."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from topics.log import current_log
from topics.log.records import StoredRecord
from topics.log.validation import MAX_READ_BYTES, check_partition

# How many records one search by key looks at, for how long, and how many at a time.
MOST_LOOKED_AT, FIND_SECONDS, FIND_STEP = 10_000, 2.0, 1000


def read(topic: str, partitions: Iterable[int], wanted: Mapping[str, Any]) -> list[StoredRecord]:
    """Read the partitions in order, until there are `limit` records or more than MAX_READ_BYTES."""
    records: list[StoredRecord] = []
    room = MAX_READ_BYTES
    offset, timestamp, limit = wanted.get("offset"), wanted.get("timestamp"), wanted["limit"]
    for partition in partitions:
        if len(records) == limit or room <= 0:
            break
        if timestamp is not None and (offset := current_log().offset_at(topic, partition, timestamp)) is None:
            continue
        found = current_log().read(topic, partition, offset, limit - len(records))
        records += found
        room -= sum(len(record.key or b"") + len(record.value or b"") for record in found)
    return records


def find_by_key(topic: str, partition: int, key: str, wanted: Mapping[str, Any]) -> tuple[list[StoredRecord], int]:
    """Return records with this key, and the offset of the first one that was not looked at. Raises UnknownPartition."""
    keys = {key.encode(), msgspec.json.encode(key)}
    offset, timestamp = wanted.get("offset"), wanted.get("timestamp")
    partitions = current_log().topic(topic).partitions
    check_partition(partition, len(partitions))
    bounds = partitions[partition]
    if timestamp is not None and (offset := current_log().offset_at(topic, partition, timestamp)) is None:
        return [], bounds.high_watermark
    found: list[StoredRecord] = []
    deadline = time.monotonic() + FIND_SECONDS
    looked_at = 0
    following = bounds.first_offset if offset is None else offset
    while looked_at < MOST_LOOKED_AT and time.monotonic() < deadline:
        records = current_log().read(topic, partition, following, FIND_STEP)
        if not records:
            return found, max(following, bounds.high_watermark)
        looked_at += len(records)
        for record in records:
            following = record.offset + 1
            if record.key in keys:
                found.append(record)
                if len(found) == wanted["limit"]:
                    return found, following
    return found, following
