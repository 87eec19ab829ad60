"""Each request's records for a partition are stored as one Kafka v2 batch that any Kafka client can read."""

import struct
import warnings
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatch as AiokafkaBatch

from producer.models import ProduceRequest
from producer.queue.threads import new_worker
from tests.conftest import Api
from topics.log import batches
from topics.log.batches import Intact
from topics.models import RecordBatch

with warnings.catch_warnings():
    # kafka-python reads its own files by a deprecated function.
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka.record.default_records import DefaultRecordBatch as KafkaBatch

# https://kafka.apache.org/documentation/#recordbatch
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
HEADER_BYTES = 61

SHAPES: dict[str, list[dict[str, Any]]] = {
    "one": [{"key": "k", "value": "v", "timestamp": 1704545600123}],
    "nulls": [{}, {"key": ""}, {"value": ""}, {"key": "k"}],
    "repetitive": [{"value": "same text " * 20, "timestamp": number} for number in range(500)],
    "large": [{"value": "".join(chr(32 + (number * number) % 90) for number in range(300_000))}],
    "out of order": [{"value": "a", "timestamp": 9}, {"value": "b", "timestamp": 2**63 - 1}, {"value": "c"}],
    "headers": [
        {
            "value": "v",
            "headers": [{"key": "a", "value": "1"}, {"key": "a", "value": None}, {"key": "\u00e9", "value": ""}],
        }
    ],
}


def expected_of(record: dict[str, Any]) -> tuple[Any, Any, Any]:
    key, value = record.get("key"), record.get("value")
    headers = [
        (header["key"], None if header["value"] is None else header["value"].encode())
        for header in record.get("headers", [])
    ]
    return None if key is None else key.encode(), None if value is None else value.encode(), headers


def only_batch() -> RecordBatch:
    return RecordBatch.objects.get()


def read_all(payload: bytes) -> tuple[Any, Any]:
    """What two independent decoders make of a batch, after each has checked its CRC."""
    by_kafka, by_aiokafka = KafkaBatch(payload), AiokafkaBatch(bytearray(payload))
    assert by_kafka.validate_crc()
    assert by_aiokafka.validate_crc()
    return by_kafka, by_aiokafka


def send(api: Api, records: list[dict[str, Any]], **parameters: str) -> Any:
    records = [{"partition": 1, **record} for record in records]
    return api.produce("orders", records, key_format="string", value_format="string", **parameters)


def test_it_works(api: Api, topic: str) -> None:
    assert send(api, [{"value": "hello"}], compression="zstd").status_code == 200

    batch = only_batch()
    assert batch.codec == "zstd"
    assert [record.value for record in KafkaBatch(bytes(batch.payload))] == [b"hello"]
    assert api.messages("orders")[0]["value"] == "hello"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("codec", CODECS)
def test_a_kafka_client_reads_what_was_sent(api: Api, topic: str, codec: str, shape: str) -> None:
    records = SHAPES[shape]
    send(api, [{"value": "before"}])
    answer = send(api, records, compression=codec)
    assert answer.status_code == 200, answer.content

    batch = RecordBatch.objects.get(base_offset=1)
    payload = bytes(batch.payload)
    for found in read_all(payload):
        assert (found.magic, found.compression_type, found.base_offset) == (2, CODECS[codec], 1)
        decoded = list(found)
        assert [(record.key, record.value, list(record.headers)) for record in decoded] == [
            expected_of(record) for record in records
        ]
        assert [{"partition": 1, "offset": record.offset, "timestamp": record.timestamp} for record in decoded] == (
            answer.json()["offsets"]
        )
    assert (batch.record_count, batch.codec, batch.stored_bytes) == (len(records), codec, len(payload))
    assert batch.max_timestamp == max(metadata["timestamp"] for metadata in answer.json()["offsets"])
    assert [message["offset"] for message in api.messages("orders", partition=1, offset=1, limit=1000)] == list(
        range(1, len(records) + 1)
    )


@pytest.mark.parametrize("codec", CODECS)
def test_the_header_counts_what_follows(api: Api, topic: str, codec: str) -> None:
    send(api, SHAPES["repetitive"], compression=codec)

    payload = bytes(only_batch().payload)
    (length,) = struct.unpack_from(">i", payload, 8)
    attributes, last_delta, first, newest, producer, epoch, sequence, count = struct.unpack_from(
        ">hiqqqhii", payload, 21
    )
    assert length == len(payload) - 12
    assert attributes == CODECS[codec]
    assert (last_delta, count, first, newest) == (499, 500, 0, 499)
    assert (producer, epoch, sequence) == (-1, -1, -1)


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec != "none"])
def test_the_whole_batch_is_compressed_together(api: Api, topic: str, codec: str) -> None:
    send(api, SHAPES["repetitive"], compression=codec)

    assert only_batch().stored_bytes < 500 * 200 / 10


@pytest.mark.parametrize("codec", CODECS)
def test_a_part_of_a_batch_is_read_alone(api: Api, topic: str, codec: str) -> None:
    send(api, SHAPES["repetitive"][:70], compression=codec)
    payload = bytes(only_batch().payload)
    every = batches.decode(payload, 1)

    assert [record.offset for record in every] == list(range(70))
    for limit in (1, 31, 32, 33, 70, 1000):
        forwards, backwards = Intact(payload, 0, 70), Intact(payload, 0, 70)
        for start in range(75):
            assert forwards.records(1, start, limit) == every[start : start + limit]
            assert backwards.records(1, 74 - start, limit) == every[74 - start : 74 - start + limit]


def test_lz4_blocks_are_independent(api: Api, topic: str) -> None:
    """Java's decoder refuses a frame whose blocks are linked (KIP-57)."""
    send(api, SHAPES["large"], compression="lz4")

    frame = bytes(only_batch().payload)[HEADER_BYTES:]
    assert frame[:4] == b"\x04\x22\x4d\x18"
    version, independent, has_dictionary = frame[4] >> 6, frame[4] >> 5 & 1, frame[4] & 1
    assert (version, independent, has_dictionary) == (1, 1, 0)


def test_snappy_has_the_framing_of_kafkas_java_client(api: Api, topic: str) -> None:
    """Java reads and writes xerial's blocks: a magic, two versions, then each block's length before it."""
    send(api, SHAPES["large"], compression="snappy")

    assert bytes(only_batch().payload)[HEADER_BYTES:].startswith(b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01")


@pytest.mark.parametrize("codec", CODECS)
def test_one_batch_for_each_partition(api: Api, topic: str, codec: str) -> None:
    records = [{"partition": number % 3, "value": str(number)} for number in range(30)]

    send(api, records, compression=codec)

    batches = RecordBatch.objects.order_by("partition__number").select_related("partition")
    assert [(batch.partition.number, batch.record_count, batch.codec) for batch in batches] == [
        (number, 10, codec) for number in range(3)
    ]
    for batch in batches:
        for found in read_all(bytes(batch.payload)):
            assert [record.value for record in found] == [
                str(number).encode() for number in range(batch.partition.number, 30, 3)
            ]


@pytest.mark.parametrize("codec", CODECS)
def test_an_async_request_is_stored_the_same_way(api: Api, topic: str, codec: str) -> None:
    answer = send(api, SHAPES["headers"], compression=codec, async_="true")
    assert answer.status_code == 202
    assert not RecordBatch.objects.exists()

    new_worker().work_once()

    assert ProduceRequest.objects.get().status == "completed"
    for found in read_all(bytes(only_batch().payload)):
        assert found.compression_type == CODECS[codec]
        (record,) = found
        assert (record.key, record.value, list(record.headers)) == expected_of(SHAPES["headers"][0])


@pytest.mark.parametrize("name", ["brotli", "GZIP", "", "1"])
@pytest.mark.parametrize("asynchronous", ["true", "false"])
def test_an_unknown_codec_is_400_before_any_record_is_read(api: Api, topic: str, name: str, asynchronous: str) -> None:
    answer = api.produce(topic, b"not JSON", compression=name, async_=asynchronous)

    assert answer.status_code == 400
    assert answer.json()["error"] == f"unsupported compression: {name}"
    assert answer.json()["code"] == "unsupported_compression"
    assert answer.json()["detail"] == f"compression must be one of none, gzip, snappy, lz4, zstd, got {name!r}"
    assert not ProduceRequest.objects.exists()
