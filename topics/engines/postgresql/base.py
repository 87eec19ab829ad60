"""Django's PostgreSQL, which asks a server that does not answer for nothing, and lets go of what waits for it."""

import contextlib
import os
import socket
import threading
import time
import weakref
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool import PoolClosed, PoolTimeout

from topics.engines.outage import Outage

# The least that psycopg takes.
ANSWER_SECONDS = 2
# A server that restarts within this is waited for. Meanwhile those who wait may hold all threads, and a probe has to be
# answered within a second.
PATIENCE_SECONDS = 0.4
# A connection that is asked for or in use for longer may hang.
DOUBTFUL_SECONDS = 0.2


class DatabaseWrapper(base.DatabaseWrapper):
    """While the server is down nobody is given a connection, and those in use are cut: a server that is gone without a
    word would keep their threads for as long as TCP does.
    """

    # How long a connection of the pool is waited for, in steps of the pool's own `timeout`.
    wait_seconds = 5.0

    def _cursor(self, name: Any = None) -> Any:
        if outage.opened_at is not None:
            outage.admit()
        return super()._cursor(name)  # type: ignore[misc]

    def get_new_connection(self, conn_params: Any) -> Any:
        if not self.pool:
            return super().get_new_connection(conn_params)
        outage.watch()
        _server.parameters = conn_params
        _server.begin(self)
        deadline = time.monotonic() + self.wait_seconds
        while True:
            try:
                made = super().get_new_connection(conn_params)
            except (PoolTimeout, PoolClosed):
                # Outside of an outage a full pool is waited for, and one that an outage has closed is replaced.
                outage.admit()
                if time.monotonic() < deadline:
                    continue
                _server.end(self)
                raise
            except BaseException:
                _server.end(self)
                raise
            outage.answered()
            return made

    def _configure_connection(self, connection: Any) -> bool:
        _server.made(connection)
        return bool(super()._configure_connection(connection))  # type: ignore[misc]

    def _close(self) -> None:
        try:
            super()._close()  # type: ignore[misc]
        finally:
            _server.end(self)


class _Server:
    """The server as this process uses it: its connections, and who asks for one or has one since when."""

    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()
        self._since: weakref.WeakKeyDictionary[DatabaseWrapper, float] = weakref.WeakKeyDictionary()

    def made(self, connection: Any) -> None:
        with self._lock:
            self._connections.add(connection)

    def begin(self, wrapper: DatabaseWrapper) -> None:
        with self._lock:
            self._since[wrapper] = time.monotonic()

    def end(self, wrapper: DatabaseWrapper) -> None:
        with self._lock:
            self._since.pop(wrapper, None)

    def is_doubtful(self) -> bool:
        with self._lock:
            return any(time.monotonic() - since > DOUBTFUL_SECONDS for since in self._since.values())

    def probe(self) -> str:
        """Why the server takes no new connection now."""
        try:
            psycopg.connect(**{**self.parameters, "connect_timeout": ANSWER_SECONDS}).close()
        except psycopg.Error:
            return "the database does not answer"
        return ""

    def down(self) -> None:
        """End every wait for the server: the pool is made anew when it answers, with fresh connections."""
        pools = _pools()
        for pool in [pools.pop(alias) for alias in list(pools)]:
            # No waiting for its threads, which wait for the server.
            pool.close(timeout=0)
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            _cut(connection)


def _pools() -> dict[str, Any]:
    pools: dict[str, Any] = base.DatabaseWrapper._connection_pools  # type: ignore[attr-defined]
    return pools


def _cut(connection: Any) -> None:
    """Make whoever waits for an answer on this connection see that it is lost."""
    with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as twin:
        twin.shutdown(socket.SHUT_RDWR)


_server = _Server()
outage = Outage(_server.probe, patience=PATIENCE_SECONDS, is_doubtful=_server.is_doubtful, down=_server.down)
