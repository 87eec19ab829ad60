"""Send the records of a synchronous request, and learn from what becomes of them which partitions are in trouble."""

import itertools
import time
from collections.abc import Collection, Sequence

from django.conf import settings

from core import lane, turns
from core.errors import OutcomeUnknown, StorageError, StorageUnavailable
from topics.log.contract import Results
from topics.log.errors import NotAttempted, QueueFull, TopicNotFound
from topics.log.kafka.administration import PartitionKey
from topics.log.kafka.cluster import Cluster
from topics.log.kafka.producers import Delivery, DeliveryResult, Placed
from topics.log.records import RecordMetadata, Write
from topics.log.validation import check_partition

# Records rejected with their batch are sent again individually, this many at a time, which takes less than this long.
ALONE_AT_ONCE = 50
ALONE_SECONDS = 0.25
# A healthy partition acknowledges records within this time. Later, the request looks whether its topic still exists.
SOON_SECONDS = 0.3
# How long a request waits if a share of the threads waits for its partition already.
LATE_SECONDS = 1.0


class Sender:
    """Sends records with the clients of one process."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def send(self, writes: Sequence[Write], seconds: float | None) -> Results:
        """Reject records for offline partitions, queue all others, and wait for all acknowledgements together.

        Raises TopicNotFound if none of the topics exists. Otherwise that is the result of records for missing ones.
        """
        most = float(settings.TAKHIN_PRODUCE_TIMEOUT)
        budget = most if seconds is None else min(seconds, most)
        began = time.monotonic()
        cluster = self._cluster
        rejected: dict[PartitionKey, StorageError] = self._missing(writes)
        cluster.admit()
        rejected |= self._unwritable([place for place in map(_place, writes) if place not in rejected], budget)
        accepted = [write for write in writes if _place(write) not in rejected] if rejected else writes
        outcomes = self._deliver(accepted, began + budget) if accepted else []
        # A failure within a shorter time does not prove that a partition is in trouble.
        self._learn(accepted, outcomes, began if budget == most else None)
        rest = iter(outcomes)
        return [[rejected.get(_place(write)) or next(rest) for _ in write.records] for write in writes]

    def _missing(self, writes: Sequence[Write]) -> dict[PartitionKey, StorageError]:
        """Return the error of each partition whose topic does not exist. Raises TopicNotFound if none exists."""
        missing: dict[PartitionKey, StorageError] = {}
        for write in writes:
            try:
                check_partition(write.partition, self._cluster.watch.partition_count(write.topic))
            except TopicNotFound as error:
                missing[_place(write)] = error
        if missing and len(missing) == len(writes):
            raise next(iter(missing.values()))
        return missing

    def _unwritable(self, places: Sequence[PartitionKey], seconds: float) -> dict[PartitionKey, StorageError]:
        """Return why nothing can be written to some of the partitions now."""
        cluster = self._cluster
        found = {
            place: cluster.watch.unwritable(place) or self._used_up(place) or cluster.partitions.admit(place, seconds)
            for place in places
        }
        return {place: error for place, error in found.items() if error is not None}

    def _used_up(self, place: PartitionKey) -> StorageUnavailable | None:
        if lane.current() is None and self._cluster.threads.is_used_up(place):
            return StorageUnavailable(f"too many requests wait for partition {place[1]} of topic {place[0]!r}")
        return None

    def _learn(
        self,
        writes: Sequence[Write],
        outcomes: Sequence[DeliveryResult],
        sent_at: float | None,
    ) -> None:
        """Note which partitions have acknowledged records, and which have not although they were given all the time."""
        cluster = self._cluster
        kinds = set(map(type, outcomes))
        if RecordMetadata in kinds:
            cluster.breaker.acknowledged()
        rest = iter(outcomes)
        for write in writes:
            place = _place(write)
            found = list(itertools.islice(rest, len(write.records)))
            if OutcomeUnknown not in kinds or not all(isinstance(outcome, OutcomeUnknown) for outcome in found):
                cluster.partitions.succeeded(place)
            elif sent_at is not None:
                cluster.partitions.failed(place, sent_at)

    def _deliver(self, writes: Sequence[Write], deadline: float) -> list[DeliveryResult]:
        """Return every record's outcome, in order. Records rejected with their batch are sent again individually."""
        cluster = self._cluster
        records = [(write.topic, write.partition, record) for write in writes for record in write.records]
        codec = writes[0].codec
        delivery = cluster.producer(codec).send(records, cluster.room)
        turns.end()
        if not delivery.wait(min(SOON_SECONDS, deadline - time.monotonic())):
            self._wait_longer(delivery, set(map(_place, writes)), deadline)
        outcomes = delivery.settle()
        again = delivery.refused_with_batch()
        for start in range(0, len(again), ALONE_AT_ONCE):
            part = again[start : start + ALONE_AT_ONCE]
            for index, outcome in zip(part, self._alone([records[i] for i in part], codec, deadline), strict=True):
                outcomes[index] = outcome
        return outcomes

    def _wait_longer(self, delivery: Delivery, places: Collection[PartitionKey], deadline: float) -> None:
        """Wait for records that were not acknowledged soon. Raises TopicNotFound if their only topic has been deleted.

        Only a share of the threads may wait for a partition that acknowledges nothing. The others give up early.
        """
        cluster = self._cluster
        topics = {topic for topic, _ in places}
        takes_share = lane.current() is None
        if takes_share and not cluster.threads.enter(places):
            delivery.wait(min(LATE_SECONDS, deadline - time.monotonic()))
            return
        try:
            while not delivery.wait(min(SOON_SECONDS, deadline - time.monotonic())):
                cluster.watch.wake()
                deleted = [topic for topic in topics if not cluster.watch.knows(topic)]
                if deleted and len(topics) == 1:
                    raise TopicNotFound(deleted[0])
                if deleted or time.monotonic() >= deadline:
                    return
        finally:
            if takes_share:
                cluster.threads.leave(places)

    def _alone(self, records: list[Placed], codec: str, deadline: float) -> list[DeliveryResult]:
        """Send each record in its own batch and return the outcomes; NotAttempted if no time is left."""
        if time.monotonic() > deadline - ALONE_SECONDS:
            return [NotAttempted("too many records before it were rejected", retriable=True)] * len(records)
        try:
            delivery = self._cluster.producer(codec, alone=True).send(records, self._cluster.room)
        except QueueFull as error:
            return [error] * len(records)
        delivery.wait(deadline - time.monotonic())
        return delivery.settle()


def _place(write: Write) -> PartitionKey:
    return write.topic, write.partition
