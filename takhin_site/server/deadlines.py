"""Enforce the deadlines of waiting for clients."""

from takhin_site.server import limits
from takhin_site.server.connection import Connection
from takhin_site.server.incoming import BadHead, Incoming

LEAST_BYTES = int(limits.RATE_SECONDS * limits.MIN_BYTES_PER_SECOND)


def enforce(connection: Connection, now: float) -> None:
    """End a connection's wait for its client when time is up. A request in progress may take as long as it needs."""
    request = connection.receiving
    if connection.unsent:
        _send(connection, now)
    elif connection.is_lingering:
        _linger(connection, now)
    elif connection.working is not None or connection.ready:
        return
    elif request is None:
        if now - connection.since > (limits.KEEP_ALIVE_SECONDS if connection.has_served else limits.HEAD_SECONDS):
            connection.transport.close()
    elif not request.has_head:
        if now - request.began > limits.HEAD_SECONDS:
            connection.reject(BadHead("the request head did not arrive in time", 408))
            connection.advance()
    elif request.refusal is None and _is_late(request, now, connection.server.body_seconds):
        connection.refuse(request, "body_timeout")
        connection.advance()


def _is_late(request: Incoming, now: float, seconds: float) -> bool:
    return now - request.began > seconds or request.is_too_slow(now, limits.RATE_SECONDS, LEAST_BYTES)


def _linger(connection: Connection, now: float) -> None:
    is_silent = now - max(connection.heard, connection.since) > limits.LINGER_IDLE_SECONDS
    if is_silent or now - connection.since > limits.LINGER_SECONDS:
        connection.transport.abort()


def _send(connection: Connection, now: float) -> None:
    left = connection.transport.get_write_buffer_size()
    if left < connection.unsent:
        connection.since = now
        connection.server.memory.sending(connection, left)
    elif now - connection.since > limits.SEND_SECONDS:
        connection.transport.abort()
