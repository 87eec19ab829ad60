"""Limit the memory of all bodies that arrive, and of all responses that clients have not read yet."""

from takhin_site.server.connection import Connection
from takhin_site.server.incoming import Incoming


class Memory:
    def __init__(self, most: int) -> None:
        self._most = most
        self.held_bytes = self._unsent_bytes = 0
        self._sending: set[Connection] = set()

    def hold(self, request: Incoming) -> bool:
        """Count the received part of a body. Return False if all bodies together would take too much memory.

        Complete bodies may take as much again as incomplete ones, so slow clients cannot crowd out fast ones.
        """
        wanted = request.size - request.counted
        if self.held_bytes + wanted > (2 * self._most if request.is_complete else self._most):
            return False
        self.held_bytes += wanted
        request.counted = request.size
        return True

    def release(self, request: Incoming) -> None:
        self.held_bytes -= request.counted
        request.counted = 0

    def sending(self, connection: Connection, unsent: int) -> None:
        """Record how much of its responses a client has not read yet.

        The total is limited like that of bodies. Beyond it, the client that has read nothing for longest is
        disconnected.
        """
        self._unsent_bytes += unsent - connection.unsent
        connection.unsent = unsent
        if not unsent:
            self._sending.discard(connection)
            return
        self._sending.add(connection)
        if self._unsent_bytes > self._most:
            slowest = min(self._sending, key=lambda one: one.since)
            self.sending(slowest, 0)
            slowest.transport.abort()
