"""The keys with which clients retry produce requests safely."""

import functools
from datetime import UTC, datetime

import msgspec
from django.db import models

from core import crashes
from core.database import statements
from producer.models.outcomes import Outcomes
from producer.options import Options


class IdempotencyKey(models.Model):
    """A client's key, and the request that used it first.

    `id` is the number of the API key and the client's key. `fingerprint` identifies the request's content. `outcomes`
    are those of a sync request, once it is finished; an async request has them in its row.
    """

    id = models.CharField(primary_key=True, max_length=280, editable=False)
    fingerprint = models.CharField(max_length=64)
    request_id = models.CharField(max_length=36, db_index=True)
    is_async = models.BooleanField()
    options = models.TextField()
    outcomes = models.BinaryField(null=True)
    created_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.text

    @property
    def text(self) -> str:
        """The key as the client sent it."""
        return self.id.partition(":")[2]

    def read_options(self) -> Options:
        return msgspec.json.decode(self.options, type=Options)

    def read_outcomes(self) -> Outcomes | None:
        return None if self.outcomes is None else Outcomes.unpacked(bytes(self.outcomes))


class NewKey(msgspec.Struct, frozen=True):
    """The key of a new request, with columns of IdempotencyKey."""

    id: str
    fingerprint: str

    def use(self, request_id: str, options: str, outcomes: Outcomes | None, *, is_async: bool) -> None:
        """Save which request uses the key. Call it in the transaction that saves the request.

        The transaction fails with an IntegrityError if another request has used the key.
        """
        packed = None if outcomes is None else outcomes.packed
        now = statements.moment(datetime.now(UTC))
        crashes.at("key.before")
        statements.add(_statement(), [self.id, self.fingerprint, request_id, is_async, options, packed, now])
        crashes.at("key.after")


def settle(request_id: str, outcomes: Outcomes | None) -> None:
    """Keep the outcomes of a sync request that a worker has finished, or free its key if nothing was written."""
    used = IdempotencyKey.objects.filter(request_id=request_id)
    if outcomes is not None and (outcomes.written_count or outcomes.is_in_doubt):
        used.update(outcomes=outcomes.packed)
    else:
        used.delete()


@functools.cache
def _statement() -> str:
    table = IdempotencyKey._meta.db_table
    columns = "id, fingerprint, request_id, is_async, options, outcomes, created_at"
    return f"INSERT INTO {table} ({columns}) VALUES (%s, %s, %s, %s, %s, %s, %s)"  # noqa: S608
