"""Encode records as a Kafka record batch (magic 2), and decode it.

Format: https://kafka.apache.org/documentation/#recordbatch
"""

import struct
from collections.abc import Sequence
from itertools import islice

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from topics.log.compression import CODECS
from topics.log.records import Record, StoredRecord

_HEADER_BYTES = 61
_LENGTH_AT = 8
_MAGIC_AT = 16
_CRC_AT = 17
_ATTRIBUTES_AT = 21
_COUNT_AT = 57
_NO_PRODUCER = (-1, -1, -1)
# The builder rejects records beyond this size; our own limits are far below it.
_UNBOUNDED = 2**31 - 1


def encode(records: Sequence[Record], codec: str) -> bytearray:
    """Return a batch with base offset 0; `place` sets the offset once it is known."""
    return compress(build(records), codec)


def build(records: Sequence[Record]) -> bytearray:
    """Return a batch that is not compressed."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, *_NO_PRODUCER, _UNBOUNDED)
    append = builder.append
    for offset, record in enumerate(records):
        append(offset, record.timestamp, record.key, record.value, record.headers)
    built: bytearray = builder.build()
    return built


def compress(batch: bytearray, codec: str) -> bytearray:
    if codec == "none":
        return batch
    chosen = CODECS[codec]
    compressed = batch[:_HEADER_BYTES] + chosen.compress(bytes(batch[_HEADER_BYTES:]))
    struct.pack_into(">i", compressed, _LENGTH_AT, len(compressed) - _LENGTH_AT - 4)
    struct.pack_into(">h", compressed, _ATTRIBUTES_AT, chosen.kafka_id)
    struct.pack_into(">I", compressed, _CRC_AT, calc_crc32c(compressed[_ATTRIBUTES_AT:]))
    return compressed


def place(batch: bytearray, base_offset: int) -> bytearray:
    """Set the base offset in place and return the batch. The CRC does not cover these eight bytes."""
    struct.pack_into(">q", batch, 0, base_offset)
    return batch


class Corrupt(Exception):
    """A stored batch is corrupt; the message tells how."""


def check(payload: bytes, base_offset: int | None = None, count: int | None = None) -> DefaultRecordBatch:
    """Return the stored batch. Raises Corrupt unless it is intact and has the expected base offset and record count."""
    if len(payload) < _HEADER_BYTES:
        raise Corrupt(f"the batch has {len(payload)} bytes, fewer than its header")
    length = struct.unpack_from(">i", payload, _LENGTH_AT)[0] + _LENGTH_AT + 4
    if length != len(payload):
        raise Corrupt(f"the batch has {len(payload)} bytes, but its header says {length}")
    if payload[_MAGIC_AT] != 2:
        raise Corrupt(f"the batch has format {payload[_MAGIC_AT]}, not 2")
    batch = DefaultRecordBatch(payload)
    if not batch.validate_crc():
        raise Corrupt("the batch is corrupt: its CRC does not match")
    if base_offset not in (None, batch.base_offset):
        raise Corrupt(f"the batch starts at offset {batch.base_offset}, but is stored at offset {base_offset}")
    (found,) = struct.unpack_from(">i", payload, _COUNT_AT)
    if batch.last_offset_delta + 1 != found:
        raise Corrupt(f"the batch has {found} records, but {batch.last_offset_delta + 1} offsets")
    if count not in (None, found):
        raise Corrupt(f"the batch has {found} records, but is stored with a count of {count}")
    return batch


def decode(payload: bytes, partition: int, start: int = 0, limit: int | None = None) -> list[StoredRecord]:
    """Return the records of a checked batch with offsets from `start` on, at most `limit`. Raises Corrupt."""
    batch = DefaultRecordBatch(payload)
    found = batch.last_offset_delta + 1
    skipped = min(max(0, start - batch.base_offset), found)
    end = found if limit is None else min(skipped + limit, found)
    try:
        return [
            StoredRecord(partition, record.offset, record.timestamp, record.key, record.value, record.headers)
            for record in islice(batch, skipped, end)
        ]
    except Exception as error:
        raise Corrupt(f"the batch's records cannot be read ({error})") from error
