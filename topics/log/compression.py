"""Compress record batches as Kafka's clients do, at levels suitable for a server."""

import gzip
from collections.abc import Callable

import cramjam
from aiokafka.codec import snappy_encode


def _lz4(payload: bytes) -> bytes:
    # Kafka's Java decoder rejects linked blocks (KIP-57), which cramjam.lz4.compress produces.
    compressor = cramjam.lz4.Compressor(level=1, content_checksum=False, block_linked=False)
    compressor.compress(payload)
    return bytes(compressor.finish())


class Codec:
    """A Kafka compression codec: its name, its id in a batch's attributes, and its compressor."""

    def __init__(self, name: str, kafka_id: int, compress: Callable[[bytes], bytes]) -> None:
        self.name = name
        self.kafka_id = kafka_id
        self.compress = compress


# Ids: https://kafka.apache.org/documentation/#recordbatch
CODECS = {
    codec.name: codec
    for codec in (
        Codec("none", 0, lambda payload: payload),
        Codec("gzip", 1, lambda payload: gzip.compress(payload, 6, mtime=0)),
        Codec("snappy", 2, lambda payload: bytes(snappy_encode(payload))),
        Codec("lz4", 3, _lz4),
        Codec("zstd", 4, lambda payload: bytes(cramjam.zstd.compress(payload, level=1))),
    )
}
