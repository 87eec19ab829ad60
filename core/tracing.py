"""Say in log lines which request they are about."""

from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

# The X-Request-Id of the request that this thread, or this task of a lane, works on.
request_id: ContextVar[str] = ContextVar("request_id", default="")


class about:  # noqa: N801
    """A context that adds `httpRequestId` to all log lines in the block."""

    __slots__ = ("_token", "_trace_id")

    def __init__(self, trace_id: str) -> None:
        self._trace_id = trace_id

    def __enter__(self) -> None:
        self._token = request_id.set(self._trace_id)

    def __exit__(self, *_: object) -> None:
        request_id.reset(self._token)


def add_request_id(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor."""
    if found := request_id.get():
        event["httpRequestId"] = found
    return event
