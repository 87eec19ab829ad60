"""Say in log lines which request they are about."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

# The X-Request-Id of the request that this thread, or this task of a lane, works on.
request_id: ContextVar[str] = ContextVar("request_id", default="")


@contextmanager
def about(trace_id: str) -> Iterator[None]:
    """Add `httpRequestId` to all log lines in the block."""
    token = request_id.set(trace_id)
    try:
        yield
    finally:
        request_id.reset(token)


def add_request_id(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor."""
    if found := request_id.get():
        event["httpRequestId"] = found
    return event
