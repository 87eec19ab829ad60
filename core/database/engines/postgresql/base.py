"""Django's PostgreSQL backend, but it fails fast while the server does not answer."""

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

from core.database.engines.outage import Outage

# The minimum that psycopg allows.
ANSWER_SECONDS = 2
# Requests wait for a server that restarts within this time. They may occupy all threads meanwhile, and health probes
# must be answered within a second.
PATIENCE_SECONDS = 0.4
# A connection that is requested or in use for longer than this may hang.
DOUBTFUL_SECONDS = 0.2


class DatabaseWrapper(base.DatabaseWrapper):
    """While the server is down, it hands out no connections and shuts down those in use.

    Otherwise, threads would wait for a silently lost server until TCP times out.
    """

    # How long to wait for a connection from the pool, in steps of the pool's own `timeout`.
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
                # Without an outage, wait for a full pool, and replace a pool that an outage has closed.
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
    """This process's connections to the server, and since when each wrapper has requested or used one."""

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
        """Return why the server does not accept connections, or an empty string if it does."""
        try:
            psycopg.connect(**{**self.parameters, "connect_timeout": ANSWER_SECONDS}).close()
        except psycopg.Error:
            return "the database does not answer"
        return ""

    def down(self) -> None:
        """Abort every wait for the server. The pool is recreated with fresh connections when it answers."""
        pools = _pools()
        for pool in [pools.pop(alias) for alias in list(pools)]:
            # Do not wait for the pool's threads, because they wait for the server.
            pool.close(timeout=0)
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            _cut(connection)


def _pools() -> dict[str, Any]:
    pools: dict[str, Any] = base.DatabaseWrapper._connection_pools  # type: ignore[attr-defined]
    return pools


def _cut(connection: Any) -> None:
    """Shut down the connection's socket, so that whoever waits on it gets an error."""
    with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as twin:
        twin.shutdown(socket.SHUT_RDWR)


_server = _Server()
outage = Outage(_server.probe, patience=PATIENCE_SECONDS, is_doubtful=_server.is_doubtful, down=_server.down)
