"""A request's mode, sync or async, and its status."""

from django.db import models

from producer.models.outcomes import Outcomes


class Status(models.TextChoices):
    PENDING = "pending", "Pending"
    COMPLETED = "completed", "Completed"
    PARTIAL = "partial", "Partly written"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


# Clients know three: whether something was written, and their records' outcomes, is all that they need.
STATUS_FOR_CLIENTS = {Status.PARTIAL: Status.COMPLETED, Status.CANCELLED: Status.FAILED}


class RequestMode(models.TextChoices):
    SYNC = "sync", "Sync"
    ASYNC = "async", "Async"


def status_of(outcomes: Outcomes) -> Status:
    """Return the status of a request with these outcomes."""
    if not outcomes.failures:
        return Status.COMPLETED
    return Status.PARTIAL if outcomes.written_count else Status.FAILED
