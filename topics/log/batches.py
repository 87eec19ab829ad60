"""Encode records as a Kafka record batch (magic 2), and decode it.

Format: https://kafka.apache.org/documentation/#recordbatch
"""

import struct
import threading
from collections.abc import Sequence
from itertools import islice

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c, decode_varint

from topics.log.compression import BY_KAFKA_ID, CODECS
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
# How many records lie between two whose places in a batch are remembered.
_STEP = 32
_walking = threading.Lock()


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


def decode(
    payload: bytes,
    partition: int,
    base_offset: int | None = None,
    count: int | None = None,
    start: int = 0,
    limit: int | None = None,
) -> list[StoredRecord]:
    """Return the records of a stored batch with offsets from `start` on, at most `limit`. Raises Corrupt."""
    batch = check(payload, base_offset, count)
    found = batch.last_offset_delta + 1
    skipped = min(max(0, start - batch.base_offset), found)
    end = found if limit is None else min(skipped + limit, found)
    return _stored(batch, partition, skipped, end)


def _stored(batch: DefaultRecordBatch, partition: int, first: int, end: int) -> list[StoredRecord]:
    """Raises Corrupt."""
    try:
        return [
            StoredRecord(partition, record.offset, record.timestamp, record.key, record.value, record.headers)
            for record in islice(batch, first, end)
        ]
    except Exception as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> Corrupt:
    return Corrupt(f"the batch's records cannot be read ({error})")


class Intact:
    """A stored batch that has been checked, decompressed. Reading a record decodes few of those before it.

    Threads may share it.
    """

    def __init__(self, payload: bytes, base_offset: int, count: int) -> None:
        """Raises Corrupt."""
        batch = check(payload, base_offset, count)
        self._base, self._count = base_offset, count
        # The header of a batch that is not compressed.
        self._header = payload[:_ATTRIBUTES_AT] + bytes(2) + payload[_ATTRIBUTES_AT + 2 : _HEADER_BYTES]
        try:
            self._records = BY_KAFKA_ID[batch.compression_type].decompress(payload[_HEADER_BYTES:])
        except Exception as error:
            raise _unreadable(error) from error
        # Where the first record of each step begins, for the steps that have been read.
        self._places = [0]

    @property
    def size(self) -> int:
        return len(self._records)

    def records(self, partition: int, start: int, limit: int) -> list[StoredRecord]:
        """Return the records with offsets from `start` on, at most `limit`. Raises Corrupt."""
        first = min(max(0, start - self._base), self._count)
        end = min(first + limit, self._count)
        step, before = divmod(first, _STEP)
        try:
            part = self._records[self._place(step) : self._place(-(-end // _STEP))]
        except Exception as error:
            raise _unreadable(error) from error
        return _stored(DefaultRecordBatch(self._header + part), partition, before, before + end - first)

    def _place(self, step: int) -> int:
        """Return where the step's first record begins."""
        if step * _STEP >= self._count:
            return len(self._records)
        with _walking:
            while len(self._places) <= step:
                place = self._places[-1]
                for _ in range(_STEP):
                    length, place = decode_varint(self._records, place)
                    place += length
                self._places.append(place)
            return self._places[step]
