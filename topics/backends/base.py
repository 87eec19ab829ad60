"""The contract of a log: turn records into offsets, and read them back."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence

import msgspec

from topics.errors import InvalidTopic, LogError, LogRefused, OffsetOutOfRange, UnknownPartition
from topics.records import DEFAULT_CONFIG, Record, RecordMetadata, StoredRecord, TopicConfig, TopicInfo, Write

# For each write, for each of its records: where it is, or why it is not.
Results = list[list[RecordMetadata | LogError]]
Also = Callable[[Results], None]

# Kafka's rule: org.apache.kafka.common.internals.Topic
_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
MAX_PARTITIONS = 1000
# Bounds the memory of one read as Kafka's fetch.max.bytes does; a single larger record is still returned.
MAX_READ_BYTES = 8 * 1024 * 1024


class RefusedTogether(Exception):
    """One of several entries has a record that the log refuses. Nothing was written: append each by itself."""


class Entry(msgspec.Struct, frozen=True):
    """One request's part in a session's append: its writes, and the receipt to be kept under its key.

    When the log refuses one record of a `strict` entry, it writes none of them.
    """

    key: str
    topic: str
    writes: Sequence[Write]
    strict: bool
    receipt: Callable[[Results], bytes]


class Session(ABC):
    """Appends exactly once across crashes, for a log whose appends cannot share a transaction with the database.

    Records and receipts are written together or not at all. A session belongs to a name: opening it again ends
    whatever an earlier owner of that name left behind, and that owner can write no more.
    """

    @abstractmethod
    def append(self, entries: Sequence[Entry]) -> list[Results]:
        """Append all of several requests of one codec, with a receipt for each, and return each one's results.

        Raises LogUnavailable and RefusedTogether (nothing happened), and OutcomeUnknown (this session is over: open
        it again, and the receipts tell what happened).
        """

    @abstractmethod
    def receipts(self, keys: Sequence[str], since_ms: int) -> dict[str, bytes]:
        """The receipts under these keys, of those kept not before `since_ms`. Raises LogUnavailable."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the name's resources in this process."""


class Log(ABC):
    """A partitioned log. Every method may raise LogUnavailable, which means that nothing happened.

    One instance serves all threads of a process.
    """

    # Whether `append` runs `also` inside the append's own transaction.
    supports_transactions = False
    # Whether `enforce_retention` deletes what a topic's retention no longer keeps.
    supports_retention = False

    # Whether `open_session` gives appends that survive a crash exactly once.
    supports_sessions = False

    @abstractmethod
    def append(
        self, topic: str, writes: Sequence[Write], also: Also | None = None, seconds: float | None = None
    ) -> Results:
        """Append all of one request at once, within `seconds`; all or nothing where the log `supports_transactions`.

        Returns for each write, in order, its records' metadata, in order; elsewhere a record may have an error of
        its own instead. `also(results)` is the caller's own bookkeeping: inside the same transaction where the log
        `supports_transactions` (it may then be called again after a rollback, and what it raises undoes the append),
        after the append elsewhere. Raises TopicNotFound, UnknownPartition.
        """

    def check_record(self, record: Record) -> None:  # noqa: B027
        """Raise DeliveryFailed for a record that this log would not keep as it is; cheap, and before any append."""

    def open_session(self, name: str, is_ours: Callable[[], bool]) -> Session:
        """The session of this name, once all that its earlier owner did is decided.

        The session asks `is_ours` each time after it has shut others out: one that woke up late would shut out its
        own successor. Raises LogUnavailable, and OutcomeUnknown when the name is not ours.
        """
        raise LogRefused("this log has no sessions")

    def check_online(self, topic: str, partitions: Collection[int]) -> None:  # noqa: B027
        """Raise LogUnavailable when one of these partitions is known to serve nobody now; cheap."""

    @abstractmethod
    def partition_count(self, topic: str) -> int:
        """The topic's number of partitions, cheap enough for every request. Raises TopicNotFound."""

    @abstractmethod
    def topic_names(self) -> list[str]:
        """Every topic's name, in order; cheap however many there are."""

    @abstractmethod
    def topics(self, names: Collection[str] | None = None) -> list[TopicInfo]:
        """Every topic, by name; or those of these names that exist."""

    @abstractmethod
    def topic(self, name: str) -> TopicInfo:
        """One topic as it is now. Raises TopicNotFound."""

    @abstractmethod
    def create_topic(self, name: str, partitions: int, config: TopicConfig = DEFAULT_CONFIG) -> TopicInfo:
        """Raises TopicExists, InvalidTopic."""

    @abstractmethod
    def configure_topic(self, name: str, config: TopicConfig) -> TopicInfo:
        """Raises TopicNotFound."""

    @abstractmethod
    def delete_topic(self, name: str) -> None:
        """Delete a topic with its records. Raises TopicNotFound."""

    @abstractmethod
    def read(self, topic: str, partition: int, offset: int | None, limit: int) -> list[StoredRecord]:
        """At most `limit` records from `offset` on; fewer where they pass MAX_READ_BYTES.

        `None` starts at the first kept offset; a negative offset counts from the end; at or past the end the
        list is empty. Raises TopicNotFound, UnknownPartition, OffsetOutOfRange.
        """

    def enforce_retention(self, now_ms: int) -> int:
        """Delete what no topic's retention keeps any longer; returns the number of records deleted."""
        return 0

    @abstractmethod
    def check(self) -> None:
        """Raise LogUnavailable when the log cannot serve."""

    def warm(self) -> None:  # noqa: B027
        """Open beforehand what the first append would wait for; in the process that will append."""

    def close(self) -> None:  # noqa: B027
        """Finish what is on its way and let go of the log; before a fork, and at the process's end."""


def is_topic_name(name: str) -> bool:
    """Whether Kafka would take this name."""
    return bool(_NAME.fullmatch(name)) and name not in (".", "..")


def validate_topic(name: str, partitions: int) -> None:
    """Raise InvalidTopic unless Kafka would take this name and this number of partitions."""
    if not is_topic_name(name):
        raise InvalidTopic(
            f"topic name {name[:260]!r} is not valid: use 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-', "
            "and neither '.' nor '..'"
        )
    if not 1 <= partitions <= MAX_PARTITIONS:
        raise InvalidTopic(f"a topic has 1 to {MAX_PARTITIONS} partitions, got {partitions}")


def check_partition(number: int, count: int) -> None:
    """Raise UnknownPartition unless the topic has it."""
    if not 0 <= number < count:
        raise UnknownPartition(number, count)


def resolve_offset(offset: int | None, first: int, end: int) -> int:
    """The offset to start reading at, from what `Log.read` takes. Raises OffsetOutOfRange."""
    if offset is None:
        return first
    if offset < 0:
        return max(first, end + offset)
    if offset < first:
        raise OffsetOutOfRange(offset, first)
    return offset


def within_bytes(records: Sequence[StoredRecord]) -> list[StoredRecord]:
    """The leading records that fit MAX_READ_BYTES, and the first in any case."""
    kept: list[StoredRecord] = []
    room = MAX_READ_BYTES
    for record in records:
        room -= len(record.key or b"") + len(record.value or b"")
        if kept and room < 0:
            break
        kept.append(record)
    return kept
