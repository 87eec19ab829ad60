"""Turn inbound records into the writes of one append, and the log's results into outcomes in the records' order."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings

from core.errors import StorageError
from producer.errors import RecordError, RecordFailure, RecordTooLarge
from producer.models import Outcomes
from producer.options import Options
from producer.pipeline.formats import FORMATS
from producer.pipeline.inbound import Decoded
from producer.pipeline.partition import Partitioner
from producer.pipeline.serialize import Serializer
from registry.avro_json import OutOfTime
from topics.log.contract import Results
from topics.log.errors import DeliveryFailed, NotAttempted, UnknownPartition
from topics.log.records import Record, RecordMetadata, Write

# Two characters of JSON become at most eight bytes (0 as a double). Only schema defaults can make more than this.
TIMES_LARGER = 4


class Plan(ABC):
    """Where each record of a request goes: to a partition, or nowhere because of its own error.

    `serialize` makes the plan, at once or in several turns, and returns true when it is complete. `writes` is empty if
    nothing is to be written: every record failed, one failed although all are to be written or none, or time ran out.
    """

    # Whether all records are to be written or none.
    strict: bool
    # Whether records may take more than microseconds. Only those with a schema do, and only schemas have defaults.
    is_costly: bool
    body_bytes = 0

    def __init__(self) -> None:
        self.writes: list[Write] = []

    @property
    @abstractmethod
    def seconds(self) -> float:
        """How long serializing has taken so far."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """The size of what an unfinished plan has serialized."""

    @abstractmethod
    def serialize(self, seconds: float, record_seconds: float | None = None) -> bool:
        """Serialize records for this long. Return whether all of them have been reached.

        A record that was started is finished, unless it takes longer than `record_seconds` (default: `seconds`).
        """

    @abstractmethod
    def give_up(self, reason: NotAttempted) -> None:
        """Write nothing, because there is no time to write everything, or a record has failed."""

    @abstractmethod
    def outcomes(self, results: Results) -> Outcomes:
        """Return one outcome per record, in order, from the log's results for `writes`."""

    @abstractmethod
    def failed(self, reason: RecordError | StorageError) -> Outcomes:
        """Return every record as failed, with its own error or else with `reason`."""

    @property
    def count(self) -> int:
        """Number of records to write."""
        return sum(len(write.records) for write in self.writes)

    @property
    def size(self) -> int:
        """Total bytes of the records to write."""
        return sum(record.size for write in self.writes for record in write.records)


class Size:
    """The bytes that all plans of a request have serialized."""

    bytes = 0


class TopicPlan(Plan):
    """The plan of a request's records for one topic. `indexes` are their places among all records of the request."""

    def __init__(
        self,
        topic: str,
        decoded: Decoded,
        options: Options,
        partition_count: int,
        accepted_ms: int,
        check_records: Callable[[Sequence[Record], str], None],
        indexes: Sequence[int] | None = None,
        size: Size | None = None,
    ) -> None:
        super().__init__()
        self.topic = topic
        self.strict = options.strict or options.atomic
        self._seconds = 0.0
        self._size = size or Size()
        self._codec = options.compression
        self._check = check_records
        self._serializer = Serializer(options, accepted_ms)
        self._partitioner = Partitioner(partition_count)
        self._decoded = decoded
        self._records = decoded.records
        self._indexes = indexes
        self.is_costly = FORMATS[options.key_format].needs_schema or FORMATS[options.value_format].needs_schema
        self._most_bytes = max(TIMES_LARGER * settings.TAKHIN_MAX_BODY_BYTES, settings.TAKHIN_MAX_RECORD_BYTES)
        self._by_partition: dict[int, list[Record]] = {}
        self._places: list[int | RecordFailure] = []

    @property
    def seconds(self) -> float:
        return self._seconds

    @property
    def bytes(self) -> int:
        return self._size.bytes

    def serialize(self, seconds: float, record_seconds: float | None = None) -> bool:
        began = time.monotonic()
        until = began + seconds
        try:
            if self.is_costly or self._places or not self._place_all():
                is_complete = self._place_each(until, until if record_seconds is None else began + record_seconds)
            else:
                is_complete = time.monotonic() <= until
        except OutOfTime:
            is_complete = False
        finally:
            self._seconds += time.monotonic() - began
        if is_complete:
            self._settle()
        return is_complete

    def _place_all(self) -> bool:
        """Place all records at once. Return False if serializing one fails, and then each has to be done on its own."""
        try:
            self._place(self._serializer.serialize_all(self._decoded))
        except RecordError:
            return False
        return True

    def _place_each(self, until: float, last: float) -> bool:
        """Place the records that are left. Return whether all have been reached. Raises OutOfTime."""
        made: list[Record | RecordFailure] = []
        try:
            for index in range(len(self._places), len(self._records)):
                made.append(self._serialized(index, last))
                if time.monotonic() > until:
                    break
        finally:
            self._place(made)
        return len(self._places) == len(self._records)

    def _serialized(self, index: int, last: float) -> Record | RecordFailure:
        """Raises OutOfTime."""
        try:
            record = self._serializer.serialize(self._decoded, index, last)
            if self.is_costly:
                self._count(record)
        except RecordError as error:
            return self._failure(index, error)
        return record

    def _place(self, made: Sequence[Any]) -> None:
        """Place the next records: together, or each on its own if one of them has failed or is refused."""
        failure = self._place_together(made) if set(map(type, made)) <= {Record} else made[0]
        if failure is not None and len(made) == 1:
            self._places.append(failure)
        elif failure is not None:
            for one in made:
                self._place([one])

    def _place_together(self, records: Sequence[Record]) -> RecordFailure | None:
        """Place the next records, or return why one of them is refused."""
        begin = len(self._places)
        try:
            self._check(records, self._codec)
            partitions = self._partitioner.choose_all(self._records[begin : begin + len(records)], records)
        except (RecordError, DeliveryFailed, UnknownPartition) as error:
            return self._failure(begin, error)
        add = {number: self._by_partition.setdefault(number, []).append for number in dict.fromkeys(partitions)}
        for partition, record in zip(partitions, records, strict=True):
            add[partition](record)
        self._places += partitions
        return None

    def give_up(self, reason: NotAttempted) -> None:
        self._places += [self._failure(index, reason) for index in range(len(self._places), len(self._records))]
        self._places = list(self._failed(reason))
        self._by_partition, self.writes = {}, []

    def _count(self, record: Record) -> None:
        """Raises RecordTooLarge."""
        size = self._size.bytes + record.size
        if size > self._most_bytes:
            raise RecordTooLarge(
                f"exceeds {self._most_bytes} bytes together with the records before it; send fewer at once"
            )
        self._size.bytes = size

    def _settle(self) -> None:
        if self.strict and any(isinstance(place, RecordFailure) for place in self._places):
            self._places = list(self._failed(NotAttempted()))
            self._by_partition = {}
        self.writes = [
            Write(self.topic, partition, batch, self._codec) for partition, batch in self._by_partition.items()
        ]

    def outcomes(self, results: Results) -> Outcomes:
        # Calls of C functions, because a request may have thousands of records.
        next_of: dict[Any, Callable[[], Any]] = {
            write.partition: iter(metadata).__next__ for write, metadata in zip(self.writes, results, strict=True)
        }
        found: list[Any] = [place if place.__class__ is RecordFailure else next_of[place]() for place in self._places]
        if not set(map(type, found)) <= {RecordMetadata, RecordFailure}:
            for index, outcome in enumerate(found):
                if isinstance(outcome, StorageError):
                    found[index] = self._failure(index, outcome)
        return Outcomes(found)

    def failed(self, reason: RecordError | StorageError) -> Outcomes:
        return Outcomes(self._failed(reason))

    def _failed(self, reason: RecordError | StorageError) -> list[RecordFailure]:
        return [
            place if isinstance(place, RecordFailure) else self._failure(index, reason)
            for index, place in enumerate(self._places)
        ]

    @property
    def failed_count(self) -> int:
        """How many records have failed so far."""
        return sum(isinstance(place, RecordFailure) for place in self._places)

    def _failure(self, index: int, error: RecordError | StorageError) -> RecordFailure:
        return failure_of(index if self._indexes is None else self._indexes[index], error)


def failure_of(index: int, error: RecordError | StorageError) -> RecordFailure:
    return RecordFailure(f"record {index}: {error}", error.code, error.retriable)
