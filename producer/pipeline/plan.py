"""Turn inbound records into the writes of one append, and the log's results into outcomes in the records' order."""

import time
from collections.abc import Callable, Sequence

from django.conf import settings

from core.errors import StorageError
from producer.errors import RecordError, RecordFailure, RecordTooLarge
from producer.models import Outcomes
from producer.options import Options
from producer.pipeline.decode import InboundRecord
from producer.pipeline.formats import FORMATS
from producer.pipeline.partition import Partitioner
from producer.pipeline.serialize import Serializer
from registry.avro_json import OutOfTime
from topics.log.contract import Results
from topics.log.errors import DeliveryFailed, NotAttempted, UnknownPartition
from topics.log.records import Record, Write

# Two characters of JSON become at most eight bytes (0 as a double). Only schema defaults can make more than this.
TIMES_LARGER = 4


class Plan:
    """Where each record of a request goes: to a partition, or nowhere because of its own error.

    `serialize` makes the plan, at once or in several turns, and returns true when it is complete. `writes` is empty if
    nothing is to be written: every record failed, one failed with strict=true, or time ran out.
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
        self.writes: list[Write] = []
        self.seconds = 0.0
        self.bytes = self.body_bytes = 0
        self._codec = options.compression
        self._check = check_record
        self._serializer = Serializer(options, accepted_ms)
        self._partitioner = Partitioner(partition_count)
        self._records = records
        # Only schemas have defaults, and records that take more than microseconds. Other formats need no turns.
        self.is_costly = FORMATS[options.key_format].needs_schema or FORMATS[options.value_format].needs_schema
        self._between_looks = 1 if self.is_costly else 64
        self._most_bytes = max(TIMES_LARGER * settings.TAKHIN_MAX_BODY_BYTES, settings.TAKHIN_MAX_RECORD_BYTES)
        self._by_partition: dict[int, list[Record]] = {}
        self._places: list[int | RecordFailure] = []

    def serialize(self, seconds: float, record_seconds: float | None = None) -> bool:
        """Serialize records for this long. Return whether all of them have been reached.

        A record that was started is finished, unless it takes longer than `record_seconds` (default: `seconds`).
        """
        began = time.monotonic()
        until = began + seconds
        last = until if record_seconds is None else began + record_seconds
        try:
            for index in range(len(self._places), len(self._records)):
                self._places.append(self._place(index, last))
                if not index % self._between_looks and time.monotonic() > until and index + 1 < len(self._records):
                    return False
        except OutOfTime:
            return False
        finally:
            self.seconds += time.monotonic() - began
        self._settle()
        return True

    def give_up(self, reason: NotAttempted) -> None:
        """Write nothing, because there is no time to write everything."""
        self._places += [_failure(index, reason) for index in range(len(self._places), len(self._records))]
        self._places = list(self._failed(reason))
        self._by_partition, self.writes = {}, []

    def _place(self, index: int, last: float) -> int | RecordFailure:
        """Raises OutOfTime."""
        inbound = self._records[index]
        try:
            record = self._serializer.serialize(inbound, last)
            self._check(record)
            given = inbound.partition if isinstance(inbound.partition, int) else None
            partition = self._partitioner.choose(given, record.key)
            if self.is_costly:
                self._count(record)
        except (RecordError, DeliveryFailed, UnknownPartition) as error:
            return _failure(index, error)
        self._by_partition.setdefault(partition, []).append(record)
        return partition

    def _count(self, record: Record) -> None:
        """Raises RecordTooLarge."""
        size = self.bytes + record.size
        if size > self._most_bytes:
            raise RecordTooLarge(
                f"exceeds {self._most_bytes} bytes together with the records before it; send fewer at once"
            )
        self.bytes = size

    def _settle(self) -> None:
        if self.strict and any(isinstance(place, RecordFailure) for place in self._places):
            self._places = list(self._failed(NotAttempted()))
            self._by_partition = {}
        self.writes = [Write(partition, batch, self._codec) for partition, batch in self._by_partition.items()]

    @property
    def count(self) -> int:
        """Number of records to write."""
        return sum(len(write.records) for write in self.writes)

    @property
    def size(self) -> int:
        """Total bytes of the records to write."""
        return sum(record.size for write in self.writes for record in write.records)

    def outcomes(self, results: Results) -> Outcomes:
        """Return one outcome per record, in order, from the log's results for `writes`."""
        written = {write.partition: iter(metadata) for write, metadata in zip(self.writes, results, strict=True)}
        found = [place if type(place) is RecordFailure else next(written[place]) for place in self._places]
        for index, outcome in enumerate(found):
            if isinstance(outcome, StorageError):
                found[index] = _failure(index, outcome)
        return Outcomes(found)

    def failed(self, reason: RecordError | StorageError) -> Outcomes:
        """Return every record as failed, with its own error or else with `reason`."""
        return Outcomes(self._failed(reason))

    def _failed(self, reason: RecordError | StorageError) -> list[RecordFailure]:
        return [
            place if isinstance(place, RecordFailure) else _failure(index, reason)
            for index, place in enumerate(self._places)
        ]


def _failure(index: int, error: RecordError | StorageError) -> RecordFailure:
    return RecordFailure(f"record {index}: {error}", error.code, error.retriable)
