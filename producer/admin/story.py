"""Say what happened to a request, and what to do about it."""

import msgspec
from django.utils import timezone

from core.admin.base import counted
from core.admin.times import relative
from core.errors import OutcomeUnknown, StorageUnavailable
from core.formatting import instant
from producer.errors import RecordTooLarge, SerializationFailed
from producer.models import CANCELLED, GAVE_UP, ProduceRequest, RequestMode, Status
from registry.errors import RegistryUnavailable, SchemaNotFound
from topics.log.errors import TopicNotFound

# Advice for a request with this code whose records were not written.
ADVICE = {
    SerializationFailed.code: "Its client must send other records, or another format. A retry fails again unless the "
    "schema was at fault.",
    RecordTooLarge.code: "Raise TAKHIN_MAX_RECORD_BYTES and retry, or have its client send smaller records.",
    TopicNotFound.code: "Create the topic, then retry.",
    SchemaNotFound.code: "Register the schema, then retry.",
    RegistryUnavailable.code: "Retry once the registry answers.",
    StorageUnavailable.code: "Retry once the log can be written; /api/health says what is wrong.",
    OutcomeUnknown.code: "Read the topic to find out whether the records are there. A retry is not possible, because "
    "it might write them twice.",
    GAVE_UP: "Look for its id in the server's log, where each attempt's error is. Mend the cause, then retry.",
    CANCELLED: "Retry it if it is to be written after all.",
}
OTHERWISE = "Mend the cause, then retry."


class Story(msgspec.Struct, frozen=True):
    """Two paragraphs, and how serious the first one is."""

    level: str
    happened: str
    advice: str = ""


def of(row: ProduceRequest) -> Story:
    written = f"{row.written_count:,} of {counted(row.record_count, 'record')}"
    match row.status:
        case Status.COMPLETED:
            return Story("success", f"{written} were written." if row.record_count > 1 else "Its record was written.")
        case Status.PENDING:
            return _pending(row)
        case Status.CANCELLED:
            return Story("warning", "It was cancelled before it was written.", ADVICE[CANCELLED])
        case Status.PARTIAL:
            return Story("warning", f"Only {written} were written: {row.error}", _advice(row))
        case _:
            return Story("error", f"No record was written: {row.error}", _advice(row))


def _advice(row: ProduceRequest) -> str:
    if row.mode == RequestMode.SYNC:
        return "Its client got these errors and may have sent the records again. " + ADVICE.get(row.code, OTHERWISE)
    return ADVICE.get(row.code, OTHERWISE)


def _pending(row: ProduceRequest) -> Story:
    waits = f"It has been pending since {instant(row.created_at)}"
    if row.slot is not None or (row.lease_until is not None and row.claims and not row.error):
        return Story("info", f"{waits}. A worker has claimed it and writes it now, or has died and lost it soon.")
    if row.error:
        again = ""
        if row.lease_until is not None and row.lease_until > timezone.now():
            again = f" The next attempt is {relative(row.lease_until)}."
        return Story("warning", f"{waits}. The last attempt failed: {row.error}.{again}", ADVICE.get(row.code, ""))
    advice = "If this lasts, look at the dashboard: is a worker running?"
    return Story("info", f"{waits}. No worker has claimed it yet.", advice)
