"""Turn inbound records into the writes of one append, and the log's results back into the records' order."""

from collections.abc import Callable, Sequence

import msgspec

from producer.decoding import InboundRecord
from producer.errors import RecordError, RecordFailure
from producer.models import Outcome
from producer.options import Options
from producer.partitioner import Partitioner
from producer.serialization import Serializer
from topics.backends.base import Results
from topics.errors import DeliveryFailed, LogError, NotAttempted, UnknownPartition
from topics.records import Record, Write

Outcomes = list[Outcome]
REQUEST_HEADER = "takhin-request-id"
INDEX_HEADER = "takhin-record"


class Plan:
    """Where each record of a request goes: to a partition, or nowhere for a reason of its own.

    `writes` is empty when nothing is to be written, because every record failed or one did and strict is on.
    """

    def __init__(
        self,
        records: Sequence[InboundRecord],
        options: Options,
        partition_count: int,
        accepted_ms: int,
        check_record: Callable[[Record], None],
    ) -> None:
        self.strict = options.strict
        serializer = Serializer(options, accepted_ms)
        partitioner = Partitioner(partition_count)
        by_partition: dict[int, list[Record]] = {}
        self._places: list[int | RecordFailure] = []
        for index, inbound in enumerate(records):
            place: int | RecordFailure
            try:
                record = serializer.serialize(inbound)
                check_record(record)
                given = inbound.partition if isinstance(inbound.partition, int) else None
                place = partitioner.choose(given, record.key)
                by_partition.setdefault(place, []).append(record)
            except (RecordError, DeliveryFailed, UnknownPartition) as error:
                place = _failure(index, error)
            self._places.append(place)
        if options.strict and any(isinstance(place, RecordFailure) for place in self._places):
            self._places = list(self.failed(NotAttempted()))
            by_partition = {}
        self.writes = [Write(partition, batch, options.compression) for partition, batch in by_partition.items()]

    @property
    def count(self) -> int:
        """Records to be written."""
        return sum(len(write.records) for write in self.writes)

    @property
    def size(self) -> int:
        """Bytes of all records to be written."""
        return sum(record.size for write in self.writes for record in write.records)

    def mark(self, request_id: str) -> None:
        """Give every record two headers, so that a consumer can tell one that was written twice."""
        for write in self.writes:
            for number, record in enumerate(write.records):
                write.records[number] = msgspec.structs.replace(
                    record,
                    headers=[
                        *record.headers,
                        (REQUEST_HEADER, request_id.encode()),
                        (INDEX_HEADER, b"%d/%d" % (write.partition, number)),
                    ],
                )

    def outcomes(self, results: Results) -> Outcomes:
        """One outcome for each record, in order, from the log's results for `writes`."""
        written = {write.partition: iter(metadata) for write, metadata in zip(self.writes, results, strict=True)}
        found: Outcomes = []
        for index, place in enumerate(self._places):
            outcome = place if isinstance(place, RecordFailure) else next(written[place])
            found.append(_failure(index, outcome) if isinstance(outcome, LogError) else outcome)
        return found

    def failed(self, reason: RecordError | LogError) -> list[RecordFailure]:
        """Every record as failed: for its own reason, else for this one."""
        return [
            place if isinstance(place, RecordFailure) else _failure(index, reason)
            for index, place in enumerate(self._places)
        ]


def _failure(index: int, error: RecordError | LogError) -> RecordFailure:
    return RecordFailure(f"record {index}: {error}", error.code, error.retriable)
