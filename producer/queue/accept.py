"""Accept a request for a worker to write."""

from core import wakeups
from core.database import transactions
from producer.models import ProduceRequest, RequestMode
from producer.pipeline.produce import Inbound, new_row


def accept(inbound: Inbound) -> ProduceRequest:
    """Save the request. When this returns, it is durable. Raises StorageUnavailable, OutcomeUnknown."""
    row = new_row(inbound, RequestMode.ASYNC)
    row.keep_body(inbound.body.data)
    transactions.commit(row.insert)
    wakeups.work_arrived()
    return row
