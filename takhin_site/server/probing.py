"""Find out whether a client that has finished sending is still there to read its response."""

import socket
from typing import TYPE_CHECKING

from takhin_site.server import answers, limits
from takhin_site.server.incoming import Incoming

if TYPE_CHECKING:
    from takhin_site.server.connection import Connection


def probe(connection: "Connection", request: Incoming) -> None:
    """Send an interim response to a client that has closed its side, if its request still waits for its turn.

    A client must accept an interim response at any time (RFC 9110, section 15.2). One that is gone resets the
    connection, and its request is not processed.
    """
    if connection.working is request and not request.is_started and request.version == "1.1":
        connection.transport.write(answers.CONTINUE)
        connection.server.loop.call_later(limits.PROBE_SECONDS, _end_if_reset, connection)


def _end_if_reset(connection: "Connection") -> None:
    # Nothing is read any more, so the event loop does not notice.
    if connection.transport is not None:
        client = connection.transport.get_extra_info("socket")
        if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            connection.transport.abort()
