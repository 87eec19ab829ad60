"""Note who did what, in the audit log and as a log event of the same name."""

import functools
import getpass
from contextvars import ContextVar
from typing import Any

import msgspec
import structlog
from django.http import HttpRequest

from core import addresses
from core.database import transactions
from core.errors import StorageError
from core.models import AuditEntry

log = structlog.get_logger("takhin.audit")
MOST_DETAILS = 8000


class Actor(msgspec.Struct, frozen=True):
    """Who acts, from which address, and in which HTTP request."""

    name: str
    client: str = ""
    request_id: str = ""


SYSTEM = Actor("system")
# The request that this thread, or this task of a lane, works on.
current_request: ContextVar[HttpRequest | None] = ContextVar("current_request", default=None)


def actor() -> Actor:
    """Return who has sent the current request, or else who has started this process."""
    request = current_request.get()
    return _of_process() if request is None else _of_request(request)


def _of_request(request: HttpRequest) -> Actor:
    key, user = request.META.get("takhin.key"), getattr(request, "user", None)
    if key:
        name = f"key {key}"
    elif user is not None and user.is_authenticated:
        name = f"user {user.get_username()}"
    else:
        name = "anonymous"
    return Actor(name, addresses.client_of(request.META), request.META.get("HTTP_X_REQUEST_ID", ""))


@functools.cache
def _of_process() -> Actor:
    try:
        return Actor(f"{getpass.getuser()} on the command line")
    except (KeyError, OSError):
        # A container's user may have no name.
        return Actor("somebody on the command line")


def note(event: str, kind: str, name: str, *, outcome: str = "ok", by: Actor | None = None, **details: Any) -> None:
    """Add an entry about the object of this kind and name. An entry that cannot be saved is logged as such.

    By default it is by whoever has sent the current request. The names of `details` must differ from every kind.
    """
    by = by or actor()
    tell = log.info if outcome == "ok" else log.warning
    tell(event, **{kind: name}, by=by.name, client=by.client, outcome=outcome, **details)
    entry = AuditEntry(
        event=event,
        actor=by.name[:170],
        client=by.client[:64],
        kind=kind,
        name=_text(name)[:255],
        outcome=outcome,
        details=_text(msgspec.json.encode(details, enc_hook=str).decode())[:MOST_DETAILS] if details else "",
        request_id=by.request_id[:128],
    )
    try:
        transactions.commit(entry.save)
    except StorageError as error:
        log.warning("audit_not_saved", audited=event, error=str(error))


def _text(text: str) -> str:
    """PostgreSQL cannot store a NUL in text."""
    return text.replace("\0", "")
