"""Turn records into one stored Kafka record batch (magic 2) and back.

Format: https://kafka.apache.org/documentation/#recordbatch
"""

import struct
from collections.abc import Sequence

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from topics.compression import CODECS
from topics.records import Record, StoredRecord

_HEADER_BYTES = 61
_LENGTH_AT = 8
_MAGIC_AT = 16
_CRC_AT = 17
_ATTRIBUTES_AT = 21
_COUNT_AT = 57
_NO_PRODUCER = (-1, -1, -1)
# The builder refuses records past this; our own limits are far below it.
_UNBOUNDED = 2**31 - 1


def encode(records: Sequence[Record], codec: str) -> bytearray:
    """One batch at base offset 0; `place` gives it its offset once that is known."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, *_NO_PRODUCER, _UNBOUNDED)
    append = builder.append
    for offset, record in enumerate(records):
        append(offset, record.timestamp, record.key, record.value, record.headers)
    batch = builder.build()
    return batch if codec == "none" else _compress(batch, codec)


def _compress(batch: bytearray, codec: str) -> bytearray:
    chosen = CODECS[codec]
    compressed = batch[:_HEADER_BYTES] + chosen.compress(bytes(batch[_HEADER_BYTES:]))
    struct.pack_into(">i", compressed, _LENGTH_AT, len(compressed) - _LENGTH_AT - 4)
    struct.pack_into(">h", compressed, _ATTRIBUTES_AT, chosen.kafka_id)
    struct.pack_into(">I", compressed, _CRC_AT, calc_crc32c(compressed[_ATTRIBUTES_AT:]))
    return compressed


def place(batch: bytearray, base_offset: int) -> bytearray:
    """The batch with its base offset set, in place: those eight bytes lie outside the CRC."""
    struct.pack_into(">q", batch, 0, base_offset)
    return batch


class Corrupt(Exception):
    """Says what is wrong with a stored batch."""


def check(payload: bytes, base_offset: int | None = None, count: int | None = None) -> DefaultRecordBatch:
    """The stored batch. Raises Corrupt unless the bytes are what was written, so many records at this offset."""
    if len(payload) < _HEADER_BYTES:
        raise Corrupt(f"the batch has {len(payload)} bytes, fewer than its header")
    length = struct.unpack_from(">i", payload, _LENGTH_AT)[0] + _LENGTH_AT + 4
    if length != len(payload):
        raise Corrupt(f"the batch has {len(payload)} bytes, but its header says {length}")
    if payload[_MAGIC_AT] != 2:
        raise Corrupt(f"the batch is of format {payload[_MAGIC_AT]}, not 2")
    batch = DefaultRecordBatch(payload)
    if not batch.validate_crc():
        raise Corrupt("the batch does not have the bytes that were written: its CRC differs")
    if base_offset not in (None, batch.base_offset):
        raise Corrupt(f"the batch says that it begins at offset {batch.base_offset}, but is stored at {base_offset}")
    (found,) = struct.unpack_from(">i", payload, _COUNT_AT)
    if batch.last_offset_delta + 1 != found:
        raise Corrupt(f"the batch has {found} records, but {batch.last_offset_delta + 1} offsets")
    if count not in (None, found):
        raise Corrupt(f"the batch has {found} records, but is stored as one of {count}")
    return batch


def decode(
    payload: bytes, partition: int, base_offset: int | None = None, count: int | None = None
) -> list[StoredRecord]:
    """The records of a stored batch, with their offsets. Raises Corrupt."""
    batch = check(payload, base_offset, count)
    try:
        return [
            StoredRecord(partition, record.offset, record.timestamp, record.key, record.value, record.headers)
            for record in batch
        ]
    except Exception as error:
        raise Corrupt(f"the batch's records cannot be read ({error})") from error
