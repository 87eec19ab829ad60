"""Choose the partition of each record of a request."""

import itertools
import random
import struct

from topics.log.errors import UnknownPartition

# org.apache.kafka.common.utils.Utils.murmur2
_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF

_turns = itertools.count(random.randrange(1000))


def murmur2(data: bytes) -> int:
    """Return the 32-bit hash of a key, unsigned, as Java's DefaultPartitioner computes it."""
    length = len(data)
    h = _SEED ^ length
    whole = length & ~3
    for word in struct.unpack_from(f"<{length >> 2}I", data):
        k = word * _M & _MASK
        h = (h * _M ^ (k ^ k >> 24) * _M) & _MASK
    if whole < length:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)


class Partitioner:
    """Partitions for the records of one request to a topic with `count` partitions."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._sticky: int | None = None

    def choose(self, given: int | None, key: bytes | None) -> int:
        """Return the given partition, or the key's, or one for all records without a key. Raises UnknownPartition."""
        if given is not None:
            if not 0 <= given < self.count:
                raise UnknownPartition(given, self.count)
            return given
        if key is not None:
            # Utils.toPositive(Utils.murmur2(key)) % numPartitions
            return (murmur2(key) & 0x7FFFFFFF) % self.count
        if self._sticky is None:
            # As in KIP-480: one batch for all records without a key, and another partition for the next request.
            self._sticky = next(_turns) % self.count
        return self._sticky
