"""The interface of a log, which assigns offsets to records and reads them back."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from core import tracing
from core.errors import StorageError, StorageUnavailable
from core.metrics import Observed
from topics.log.errors import LogRefused
from topics.log.records import (
    DEFAULT_CONFIG,
    Broker,
    ClusterInfo,
    Record,
    RecordMetadata,
    StoredRecord,
    TopicConfig,
    TopicInfo,
    Write,
)

T = TypeVar("T")
# For each write, the result of each record: its metadata or an error.
Results = list[list[RecordMetadata | StorageError]]
# What the caller saves in the database about an append, given its results.
Bookkeeping = Callable[[Results], T]


class BookkeepingFailed(Exception):
    """The records were appended, with these results, but the database did not save the caller's bookkeeping."""

    def __init__(self, results: Results, reason: StorageError) -> None:
        super().__init__(str(reason))
        self.results = results


class RefusedTogether(Exception):
    """One of several entries cannot be appended. Nothing was written: append each entry on its own."""


class SessionStuck(StorageUnavailable):
    """A session cannot be used until an earlier transaction of its name is decided. Nothing was written.

    That may take as long as one of its partitions cannot be written. Use a session with another name meanwhile.
    """


class Entry(msgspec.Struct, frozen=True):
    """One request in a session's append: its writes, and the receipt to store under its key.

    If the log rejects one record of a `strict` entry, it writes none of them.
    """

    key: str
    writes: Sequence[Write]
    strict: bool
    receipt: Callable[[Results], bytes]


class AppendRequest(msgspec.Struct, frozen=True):
    """The arguments of one `append`. `trace_id` is the X-Request-Id for log lines about it."""

    writes: Sequence[Write]
    bookkeeping: Bookkeeping[Any]
    request_id: str
    trace_id: str


class Session(ABC):
    """Exactly-once appends across crashes, for a log whose appends cannot share a transaction with the database.

    Records and receipts are written together or not at all. A session belongs to a name. Reopening it resolves whatever
    an earlier owner of the name left unfinished, and fences that owner: it can no longer write.
    """

    @abstractmethod
    def append(self, entries: Sequence[Entry]) -> list[Results]:
        """Append several requests with the same codec, with a receipt for each, and return the results of each.

        Raises StorageUnavailable and RefusedTogether (nothing was written), SessionStuck (nothing was written, and the
        session is unusable), and OutcomeUnknown (the session is unusable: reopen it, and look up the receipts to find
        out what happened).
        """

    @abstractmethod
    def receipts(self, keys: Sequence[str], since_ms: int) -> dict[str, bytes]:
        """Return the receipts under these keys written at or after `since_ms`. Raises StorageUnavailable."""

    @abstractmethod
    def close(self) -> None:
        """Release the session's resources in this process."""


def as_is(results: Results) -> Results:
    """The bookkeeping of a caller that saves nothing."""
    return results


class Log(ABC):
    """A partitioned log. Every method may raise StorageUnavailable, which means that nothing was changed.

    Instances are thread-safe; each process uses one.
    """

    # Whether `append` and its bookkeeping are one transaction.
    supports_transactions = False
    # Whether `append` and `partition_count` may run in a lane: whatever they wait for lets other tasks go on.
    fits_lane = False
    # Whether `enforce_retention` deletes expired records.
    supports_retention = False

    # Whether `open_session` provides exactly-once appends across crashes.
    supports_sessions = False

    @abstractmethod
    def append(
        self,
        writes: Sequence[Write],
        bookkeeping: Bookkeeping[T] = as_is,  # type: ignore[assignment]
        seconds: float | None = None,
        request_id: str | None = None,
        *,
        may_save_later: bool = False,
    ) -> T:
        """Append the writes of one request within `seconds`, run `bookkeeping` and return what it returns.

        `bookkeeping` gets, for each write in order, the metadata of its records in order, and returns them by default.
        It runs in a database transaction: in the append's own if the log `supports_transactions`. It may run again
        after a rollback, and an exception rolls the append back. Otherwise it runs after the append, whose results may
        contain errors, also that the log is unavailable. If the database does not save it, BookkeepingFailed has the
        results. With `may_save_later` it does not wait for that if every record was written, and only logs a failure:
        `bookkeeping` may then do nothing but `statements.add`. Such a log adds `request_id` to the records' headers,
        because a repeated request may write its records twice.

        Raises TopicNotFound, unless another topic's records were written: then it is the result of its records. Raises
        UnknownPartition.
        """

    def append_each(self, requests: Sequence[AppendRequest]) -> list[Any]:
        """Append several requests, and return what `append` returns for each, or its exception.

        A log that `supports_transactions` does so in one transaction, unless one of them fails.
        """
        return [self._append_one(request) for request in requests]

    def _append_one(self, request: AppendRequest) -> Any:
        with tracing.about(request.trace_id):
            try:
                return self.append(request.writes, request.bookkeeping, request_id=request.request_id)
            except Exception as error:
                return error

    def check_records(self, topic: str, records: Sequence[Record], codec: str) -> None:  # noqa: B027
        """Raise DeliveryFailed if this log would reject or change one of the records. Call it before any append."""

    def open_session(self, name: str, is_ours: Callable[[], bool]) -> Session:
        """Open the session with this name, once all transactions of its earlier owner are decided.

        The session calls `is_ours` after fencing other owners, because an owner that was delayed would otherwise fence
        its own successor. Raises StorageUnavailable, SessionStuck, LogRefused, and OutcomeUnknown if the name belongs
        to another owner.
        """
        raise LogRefused("this log does not support sessions")

    def check_writable(self, writes: Sequence[Write]) -> None:  # noqa: B027
        """Raise StorageUnavailable if one of the partitions is known to accept no records now. Cheap."""

    @abstractmethod
    def partition_count(self, topic: str) -> int:
        """Return the topic's number of partitions; cheap enough for every request. Raises TopicNotFound."""

    @abstractmethod
    def topic_names(self) -> list[str]:
        """Return all topic names, sorted; cheap even for many topics."""

    @abstractmethod
    def topics(self, names: Collection[str] | None = None) -> list[TopicInfo]:
        """Return all topics sorted by name, or the existing ones among `names`."""

    @abstractmethod
    def topic(self, name: str) -> TopicInfo:
        """Return the current state of one topic. Raises TopicNotFound."""

    @abstractmethod
    def create_topic(
        self,
        name: str,
        partitions: int,
        config: TopicConfig = DEFAULT_CONFIG,
        replication_factor: int | None = None,
    ) -> TopicInfo:
        """Create a topic; `None` replicas are the log's default. Raises TopicExists, InvalidTopic."""

    @abstractmethod
    def configure_topic(self, name: str, config: TopicConfig) -> TopicInfo:
        """Change a topic's configuration to this one. Raises TopicNotFound, InvalidTopic."""

    @abstractmethod
    def add_partitions(self, name: str, count: int) -> TopicInfo:
        """Give a topic `count` partitions; the new ones are empty. Raises TopicNotFound, InvalidTopic if it has more.

        Keys may belong to another partition from then on.
        """

    def cluster_info(self) -> ClusterInfo:
        """Return the servers that keep the log."""
        return ClusterInfo(None, [Broker(0)], 0, {})

    @abstractmethod
    def delete_topic(self, name: str) -> None:
        """Delete a topic and its records. Raises TopicNotFound."""

    @abstractmethod
    def read(self, topic: str, partition: int, offset: int | None, limit: int) -> list[StoredRecord]:
        """Return at most `limit` records from `offset` on; fewer if they exceed MAX_READ_BYTES.

        `None` starts at the first kept offset, and a negative offset counts from the end. At or past the end, the list
        is empty. Raises TopicNotFound, UnknownPartition, OffsetOutOfRange.
        """

    @abstractmethod
    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int | None:
        """Return the offset of the first record with this timestamp or a later one; None if there is none.

        Raises TopicNotFound, UnknownPartition.
        """

    def enforce_retention(self, now_ms: int) -> int:
        """Delete records that have outlived their topic's retention; return the number of deleted records."""
        return 0

    @abstractmethod
    def check(self) -> None:
        """Raise StorageUnavailable if the log cannot serve."""

    def observe(self) -> Iterable[Observed]:
        """Return what is to be seen of this process's connection to the log, for metrics."""
        return ()

    def warm(self) -> None:  # noqa: B027
        """Open the resources that the first append needs. Call this in the process that will append."""

    def close(self) -> None:  # noqa: B027
        """Finish pending work and release all resources. Call this before a fork and at process exit."""
