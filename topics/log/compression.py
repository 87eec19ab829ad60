"""Compress record batches as Kafka's clients do, at levels suitable for a server."""

import gzip
from collections.abc import Callable

import cramjam
from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, snappy_encode, zstd_decode


def _lz4(payload: bytes) -> bytes:
    # Kafka's Java decoder rejects linked blocks (KIP-57), which cramjam.lz4.compress produces.
    compressor = cramjam.lz4.Compressor(level=1, content_checksum=False, block_linked=False)
    compressor.compress(payload)
    return bytes(compressor.finish())


class Codec:
    """A Kafka compression codec: its name, its id in a batch's attributes, and its two functions."""

    def __init__(
        self, name: str, kafka_id: int, compress: Callable[[bytes], bytes], decompress: Callable[[bytes], bytes]
    ) -> None:
        self.name = name
        self.kafka_id = kafka_id
        self.compress = compress
        self.decompress = decompress


# Ids: https://kafka.apache.org/documentation/#recordbatch
CODECS = {
    codec.name: codec
    for codec in (
        Codec("none", 0, lambda payload: payload, lambda payload: payload),
        Codec("gzip", 1, lambda payload: gzip.compress(payload, 6, mtime=0), gzip_decode),
        Codec("snappy", 2, lambda payload: bytes(snappy_encode(payload)), snappy_decode),
        Codec("lz4", 3, _lz4, lz4_decode),
        Codec("zstd", 4, lambda payload: bytes(cramjam.zstd.compress(payload, level=1)), zstd_decode),
    )
}
BY_KAFKA_ID = {codec.kafka_id: codec for codec in CODECS.values()}
