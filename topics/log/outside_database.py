"""What logs share that cannot append in a transaction of the database, where requests are tracked."""

from abc import abstractmethod
from collections.abc import Sequence

import msgspec
import structlog

from core import crashes
from core.database import statements, transactions
from core.errors import OutcomeUnknown, StorageError, StorageUnavailable
from topics.log.contract import Bookkeeping, BookkeepingFailed, Log, Results, T, as_is
from topics.log.records import Write

log = structlog.get_logger("takhin.log")
# The headers of records that a log outside the database may write twice: the request's id, and the record's partition
# and index within it.
REQUEST_HEADER = "takhin-request-id"
INDEX_HEADER = "takhin-record"


class LogOutsideDatabase(Log):
    """A log whose appends and bookkeeping are two steps."""

    @abstractmethod
    def send(self, writes: Sequence[Write], seconds: float | None) -> Results:
        """Append the writes and return their results. Raises TopicNotFound, UnknownPartition, StorageUnavailable."""

    def append(
        self,
        writes: Sequence[Write],
        bookkeeping: Bookkeeping[T] = as_is,  # type: ignore[assignment]
        seconds: float | None = None,
        request_id: str | None = None,
        *,
        may_save_later: bool = False,
    ) -> T:
        if request_id is not None:
            writes = [_marked(write, request_id) for write in writes]
        try:
            crashes.at("append.before")
            results = self.send(writes, seconds)
            crashes.at("append.after")
        except StorageUnavailable as error:
            topics = ",".join(sorted({write.topic for write in writes}))
            log.warning("append_failed", topic=topics, error=str(error), exc_info=error.__cause__)
            results = [[error for _ in write.records] for write in writes]
        if bookkeeping is as_is:
            return bookkeeping(results)
        if may_save_later and not any(isinstance(one, StorageError) for result in results for one in result):
            value = bookkeeping(results)
            if rows := statements.take():
                transactions.commit_later(lambda: statements.put(rows), _not_saved)
            return value
        try:
            return transactions.commit(lambda: bookkeeping(results))
        except (StorageUnavailable, OutcomeUnknown) as error:
            raise BookkeepingFailed(results, error) from error


def _not_saved(error: StorageUnavailable) -> None:
    log.warning("outcome_not_tracked", error=str(error))


def _marked(write: Write, request_id: str) -> Write:
    """Return the write with two more headers on every record, by which a consumer detects one that was repeated."""
    return Write(
        write.topic,
        write.partition,
        [
            msgspec.structs.replace(
                record,
                headers=[
                    *record.headers,
                    (REQUEST_HEADER, request_id.encode()),
                    (INDEX_HEADER, b"%d/%d" % (write.partition, number)),
                ],
            )
            for number, record in enumerate(write.records)
        ],
        write.codec,
    )
