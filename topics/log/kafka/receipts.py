"""Find the receipts that sessions wrote with their records, in a topic of the server."""

import time
import zlib
from collections.abc import Sequence

from confluent_kafka.admin import AclOperation

from core.errors import StorageError, StorageUnavailable
from topics.log.errors import LogRefused, TopicExists, TopicNotFound
from topics.log.kafka import errors
from topics.log.kafka.administration import Administration
from topics.log.kafka.cluster import RECEIPTS, Cluster

PARTITIONS = 16
GRANT = "grant the server's Kafka user"
# What the server does with the receipts.
NEEDED = {"Write": AclOperation.WRITE, "Read": AclOperation.READ}
CONFIG = {"cleanup.policy": "delete", "retention.ms": str(7 * 24 * 3600 * 1000)}
# Longer than any transaction can stay open.
DECIDED_SECONDS = 25.0


class Receipts:
    """The receipts of one session name, all in one `partition`. Methods raise StorageUnavailable and LogRefused."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self.partition = zlib.crc32(name.encode()) % _partition_count(cluster)
        check_rights(cluster.administration)

    def find(self, keys: Sequence[str], since_ms: int) -> dict[str, bytes]:
        """Return the receipts under these keys written at or after `since_ms`."""
        administration, reader = self._cluster.administration, self._cluster.reader
        end = administration.bounds_of(RECEIPTS, self.partition).high_watermark
        deadline = time.monotonic() + DECIDED_SECONDS
        # An open transaction of another session in this partition hides what was committed after it.
        while administration.stable_end(RECEIPTS, self.partition) < end:
            if time.monotonic() > deadline:
                raise StorageUnavailable("a transaction of another worker is still undecided")
            time.sleep(0.2)
        start = reader.offset_at(RECEIPTS, self.partition, since_ms)
        wanted = {key.encode() for key in keys}
        found: dict[str, bytes] = {}
        while start is not None and start < end:
            records = reader.read(RECEIPTS, self.partition, start, end, 1000)
            if not records:
                break
            found |= {
                record.key.decode(): record.value or b"" for record in records if record.key and record.key in wanted
            }
            start = records[-1].offset + 1
        return found


def check_rights(administration: Administration) -> None:
    """Raise LogRefused if the server may not write and read the receipts. If the topic is missing, that is unknown."""
    try:
        allowed = administration.operations(RECEIPTS)
    except TopicNotFound:
        return
    except LogRefused as error:
        if errors.is_unsupported(error):
            return
        raise LogRefused(f"{GRANT} Describe, Write and Read on topic {RECEIPTS}: {error}") from error
    missing = [] if allowed is None else [name for name, operation in NEEDED.items() if operation not in allowed]
    if missing:
        raise LogRefused(f"{GRANT} {' and '.join(missing)} on topic {RECEIPTS}")


def _partition_count(cluster: Cluster) -> int:
    """Return the topic's number of partitions, creating the topic if it is missing."""
    count = cluster.watch.count_of_hidden(RECEIPTS)
    if count is not None:
        return count
    brokers = len(cluster.watch.metadata.brokers)
    config = {**CONFIG, **({"min.insync.replicas": "2"} if brokers >= 3 else {})}
    try:
        cluster.administration.create(RECEIPTS, PARTITIONS, min(3, max(1, brokers)), config)
    except TopicExists:
        pass
    except LogRefused as error:
        raise LogRefused(f"{GRANT} Create, Describe, Write and Read on topic {RECEIPTS}: {error}") from error
    except StorageError as error:
        raise StorageUnavailable(f"topic {RECEIPTS} cannot be created: {error}") from error
    for _ in range(50):
        cluster.watch.refresh(1)
        count = cluster.watch.count_of_hidden(RECEIPTS)
        if count is not None:
            return count
        time.sleep(0.1)
    check_rights(cluster.administration)
    raise StorageUnavailable(f"the Kafka cluster does not show topic {RECEIPTS} yet")
