"""Accept a request for a worker to write."""

from datetime import UTC, datetime

from core import wakeups
from core.database import transactions
from producer.pipeline.produce import Inbound, new_row


def accept(inbound: Inbound) -> None:
    """Save the request. When this returns, it is durable. Raises StorageUnavailable, OutcomeUnknown."""
    row = new_row(inbound, datetime.now(UTC))
    row.keep_body(inbound.body.data)
    transactions.commit(row.accept)
    wakeups.work_arrived()
