"""Choose the partition of each record of a request."""

import itertools
import random
from collections.abc import Sequence
from operator import attrgetter

from msgspec import UNSET, UnsetType
from murmurhash2 import murmurhash2

from producer.pipeline.inbound import InboundRecord
from topics.log.errors import UnknownPartition
from topics.log.records import Record

# org.apache.kafka.common.utils.Utils.murmur2 is MurmurHash2 with this seed.
_SEED = 0x9747B28C

_partition_of, _key_of = attrgetter("partition"), attrgetter("key")
_turns = itertools.count(random.randrange(1000))


class Partitioner:
    """Partitions for the records of one request to a topic with `count` partitions."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._sticky: int | None = None

    def choose(self, given: int | UnsetType | None, key: bytes | None) -> int:
        """Return the given partition, or the key's, or one for all records without a key. Raises UnknownPartition."""
        if isinstance(given, int):
            if not 0 <= given < self.count:
                raise UnknownPartition(given, self.count)
            return given
        return self.of_keys([key])[0]

    def choose_all(self, inbound: Sequence[InboundRecord], records: Sequence[Record]) -> list[int]:
        """Return what `choose` returns for each record. Raises UnknownPartition."""
        given, keys = list(map(_partition_of, inbound)), list(map(_key_of, records))
        return self.of_keys(keys) if given.count(UNSET) == len(given) else list(map(self.choose, given, keys))

    def of_keys(self, keys: Sequence[bytes | None]) -> list[int]:
        """Return the partitions of records by their keys."""
        count, hashed, seed = self.count, murmurhash2, _SEED
        # Utils.toPositive(Utils.murmur2(key)) % numPartitions
        return [self._without_key() if key is None else (hashed(key, seed) & 0x7FFFFFFF) % count for key in keys]

    def _without_key(self) -> int:
        if self._sticky is None:
            # As in KIP-480: one batch for all records without a key, and another partition for the next request.
            self._sticky = next(_turns) % self.count
        return self._sticky
