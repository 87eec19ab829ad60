"""Turn inbound records into the writes of one append, and the log's results back into the records' order."""

from collections.abc import Sequence

from producer.decoding import InboundRecord
from producer.errors import RecordError, RecordFailure, RecordNotAttempted
from producer.models import Outcome
from producer.options import Options
from producer.partitioner import Partitioner
from producer.serialization import Serializer
from topics.backends.base import Results
from topics.errors import LogError, UnknownPartition
from topics.records import Record, Write

Outcomes = list[Outcome]


class Plan:
    """Where each record of a request goes: to a partition, or nowhere for a reason of its own.

    `writes` is empty when nothing is to be written, because every record failed or one did and strict is on.
    """

    def __init__(
        self, records: Sequence[InboundRecord], options: Options, partition_count: int, accepted_ms: int
    ) -> None:
        serializer = Serializer(options, accepted_ms)
        partitioner = Partitioner(partition_count)
        by_partition: dict[int, list[Record]] = {}
        self._places: list[int | RecordFailure] = []
        for index, inbound in enumerate(records):
            place: int | RecordFailure
            try:
                record = serializer.serialize(inbound)
                place = partitioner.choose(inbound.partition, record.key)
                by_partition.setdefault(place, []).append(record)
            except (RecordError, UnknownPartition) as error:
                place = _failure(index, error)
            self._places.append(place)
        if options.strict and any(isinstance(place, RecordFailure) for place in self._places):
            self._places = list(
                self.failed(RecordNotAttempted("not attempted: another record failed, and strict=true"))
            )
            by_partition = {}
        self.writes = [Write(partition, batch, options.compression) for partition, batch in by_partition.items()]

    def outcomes(self, results: Results) -> Outcomes:
        """One outcome for each record, in order, from the log's results for `writes`."""
        written = {write.partition: iter(metadata) for write, metadata in zip(self.writes, results, strict=True)}
        return [place if isinstance(place, RecordFailure) else next(written[place]) for place in self._places]

    def failed(self, reason: RecordError | LogError) -> list[RecordFailure]:
        """Every record as failed: for its own reason, else for this one."""
        return [
            place if isinstance(place, RecordFailure) else _failure(index, reason)
            for index, place in enumerate(self._places)
        ]


def _failure(index: int, error: RecordError | LogError) -> RecordFailure:
    return RecordFailure(f"record {index}: {error}", error.code, error.retriable)
