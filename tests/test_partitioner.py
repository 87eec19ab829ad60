"""Keys go where Java's DefaultPartitioner puts them."""

import ctypes

import pytest
from confluent_kafka import cimpl
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.pipeline.partition import Partitioner
from tests.conftest import Api

pytestmark = pytest.mark.no_database

# org.apache.kafka.common.utils.UtilsTest.testMurmur2
VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


def murmur2(key: bytes) -> int:
    """The hash without its sign bit, as Utils.toPositive leaves it."""
    return Partitioner(2**31).choose(None, key)


@pytest.mark.parametrize(("key", "expected"), VECTORS.items())
def test_it_works(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected & 0x7FFFFFFF


@pytest.mark.parametrize("length", range(9))
def test_it_agrees_with_kafka_python(length: int) -> None:
    from kafka.partitioner.default import murmur2 as theirs

    key = (b"\xff\x00\x80k" * 3)[:length]
    assert murmur2(key) == theirs(key) & 0x7FFFFFFF


@settings(deadline=None)
@given(key=st.binary(), partitions=st.integers(1, 2**31 - 1))
def test_it_agrees_with_librdkafka(key: bytes, partitions: int) -> None:
    theirs = ctypes.CDLL(cimpl.__file__).rd_kafka_msg_partitioner_murmur2

    expected = theirs(None, key, ctypes.c_size_t(len(key)), ctypes.c_int32(partitions), None, None)

    assert Partitioner(partitions).choose(None, key) == expected


@pytest.mark.django_db(transaction=True)
def test_records_of_a_key_go_to_its_partition(api: Api) -> None:
    api.create_topic("wide", 7)
    records = [{"key": key.decode(), "value": 1} for key in VECTORS]

    answer = api.produce("wide", records, key_format="string")

    expected = [(hashed & 0x7FFFFFFF) % 7 for hashed in VECTORS.values()]
    assert [metadata["partition"] for metadata in answer.json()["offsets"]] == expected


def test_an_empty_key_is_a_key() -> None:
    assert Partitioner(7).choose(None, b"") == murmur2(b"") % 7
