"""Serve a listening socket until SIGTERM: the event loop, all connections, and what they share."""

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
import uvloop
from django.conf import settings

from core import wakeups
from core.database import transactions
from core.database.checks import describe
from core.metrics import Gauge
from core.wakeups import Waiting
from takhin_site.server import answers, deadlines, limits
from takhin_site.server.admission import Admission
from takhin_site.server.answers import Abandoned, Application, Result
from takhin_site.server.connection import Connection
from takhin_site.server.incoming import Incoming, base_environ
from takhin_site.server.listening import admit_no_more
from takhin_site.server.memory import Memory
from takhin_site.server.resources import connections_allowed, return_memory
from takhin_site.server.threads import Threads, Writer
from topics.log import current_log

log = structlog.get_logger("takhin.server")
CONNECTIONS = Gauge("takhin_connections", "Open connections of clients.")
BUFFERED_BYTES = Gauge("takhin_buffered_bytes", "Bytes of bodies in memory.")
LIVE = "/api/health/live"
PROBES = ("/api/health/ready", "/api/health")
# How long the handshake of a client that has begun to connect may take.
LAST_CLIENTS_SECONDS = 0.1
# How long shutdown waits for uploads in progress, and for the first requests of new connections.
STOP_UPLOADS_SECONDS = 1.0
# How long it then waits for clients to read their responses.
STOP_SENDING_SECONDS = 2.0


class Server:
    """Owns the connections. Call its methods only in the event loop's thread."""

    def __init__(self, application: Application, address: tuple[str, int], loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.now = loop.time
        self.application = application
        self.base_environ = base_environ(*address)
        self.max_body_bytes = settings.TAKHIN_MAX_BODY_BYTES
        self.max_connections = connections_allowed(-(-settings.TAKHIN_MAX_CONNECTIONS // settings.TAKHIN_PROCESSES))
        self.body_seconds = settings.TAKHIN_BODY_TIMEOUT
        # The share of this process, but enough for one body.
        share = settings.TAKHIN_MAX_BUFFERED_BYTES // settings.TAKHIN_PROCESSES
        self.memory = Memory(max(share, min(settings.TAKHIN_MAX_BUFFERED_BYTES, 2 * self.max_body_bytes)))
        self.is_stopping = False
        self.stopped = loop.create_future()
        self.connections: set[Connection] = set()
        # Ordered by when they became idle.
        self._idle: dict[Connection, None] = {}
        self._waits: dict[Connection, Callable[[], None]] = {}
        self._threads = Threads(application, settings.TAKHIN_THREADS, self._wake, self._give_way, _writer())
        self.admission = Admission(self._threads.large)
        self._sweep()

    # Connections

    def opened(self, connection: Connection) -> None:
        """Add a connection. If there are too many, disconnect the one that has been idle longest."""
        self.connections.add(connection)
        self._idle[connection] = None
        if len(self.connections) > self.max_connections:
            next(iter(self._idle)).transport.abort()

    def busy(self, connection: Connection) -> None:
        self._idle.pop(connection, None)

    def idle(self, connection: Connection) -> None:
        self._idle[connection] = None

    def closed(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._idle.pop(connection, None)
        self.memory.sending(connection, 0)
        if (again := self._waits.get(connection)) is not None:
            again()
        self._stop_when_done()

    # Requests

    def start(self, connection: Connection, request: Incoming) -> Result | None:
        """Run the application. Return the result if that needs no thread, else None, and call `finish` later."""
        if request.refusal is not None:
            return self._refuse(connection, request)
        base = {**connection.base, "takhin.wait": "later", "takhin.received_at": time.monotonic()}
        path = request.path.rstrip("/")
        if path == LIVE and request.is_complete:
            return answers.run(self.application, partial(request.environ, base))
        is_limited = request.is_for_api and path not in PROBES
        if is_limited and (reason := self.admission.objection(request, self.now())):
            return self.admission.reject(connection.client, request, reason)
        if not request.is_complete:
            environ = request.environ_without_body(connection.base)
            self._threads.submit(lambda: environ, self._started(connection, request))
            return None
        make_environ, done = partial(_environ, connection, request, base), self._started(connection, request)
        if request.is_short:
            self._threads.submit_short(make_environ, done)
        elif request.is_large:
            self._threads.large.start(request.size, make_environ, done)
        else:
            self._threads.submit(make_environ, done, is_probe=path in PROBES)
        return None

    def _started(self, connection: Connection, request: Incoming) -> Callable[[Result], None]:
        """Count a request, and return what to call when it is done."""
        self.admission.begin(request)

        def done(result: Result) -> None:
            self.admission.end(request)
            connection.finish(request, result)

        return done

    def _refuse(self, connection: Connection, request: Incoming) -> Result:
        if isinstance(request.refusal, str):
            return answers.run(self.application, partial(request.environ_without_body, connection.base))
        assert request.refusal is not None
        return answers.rejected(request.refusal.status, str(request.refusal), connection.client)

    def wait(self, connection: Connection, request: Incoming, waiting: Waiting) -> None:
        """Call the application again when the awaited event happens or time is up."""

        def again() -> None:
            # The event may happen just as time runs out. Respond only once.
            if self._waits.get(connection) is not again:
                return
            del self._waits[connection]
            wakeups.forget(waiting.request_id, happened)
            timer.cancel()
            if connection.working is request:
                base = {**connection.base, "takhin.wait": "over", "takhin.waited_for": waiting.request_id}
                if waiting.new_id is not None:
                    base["takhin.new_id"] = waiting.new_id
                self._threads.submit(partial(_environ, connection, request, base), self._started(connection, request))

        def happened() -> None:
            self.loop.call_soon_threadsafe(again)

        wakeups.when_finished(waiting.request_id, happened)
        timer = self.loop.call_later(0 if self.is_stopping else waiting.seconds, again)
        self._waits[connection] = again

    def _wake(self) -> None:
        self.loop.call_soon_threadsafe(self._threads.deliver)

    def _give_way(self) -> None:
        """Wait until the event loop has handled what has arrived. Called by the thread of a large request.

        Otherwise the two take the interpreter from each other for each event, which costs milliseconds each time.
        """
        handled = threading.Lock()
        handled.acquire()
        # The loop is closed if the server has stopped and the request's client is gone.
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(handled.release)
            handled.acquire(timeout=limits.GIVE_WAY_SECONDS)

    # Time

    def _sweep(self) -> None:
        # Schedule the next sweep first: without it, no deadline would be enforced.
        self.loop.call_later(limits.SWEEP_SECONDS, self._sweep)
        self._threads.rescue()
        self.admission.sweep()
        CONNECTIONS.set(len(self.connections))
        BUFFERED_BYTES.set(self.memory.held_bytes)
        now = self.now()
        for connection in list(self.connections):
            deadlines.enforce(connection, now)

    def stop(self) -> None:
        """Respond to complete requests, then stop."""
        self.is_stopping = True
        for again in list(self._waits.values()):
            again()
        for connection in list(self._idle):
            # The first request on a new connection is on its way. It may arrive as uploads in progress do.
            if connection.has_served:
                connection.transport.close()
        self.loop.call_later(STOP_UPLOADS_SECONDS, self._stop_uploads)
        self.loop.call_later(settings.TAKHIN_PRODUCE_TIMEOUT + STOP_SENDING_SECONDS, self._stop_all)
        self._stop_when_done()

    def _stop_uploads(self) -> None:
        for connection in list(self.connections):
            if connection.is_lingering:
                connection.transport.abort()
            elif connection.working is None and not connection.ready:
                connection.transport.close()

    def _stop_all(self) -> None:
        for connection in list(self.connections):
            connection.transport.abort()

    def _stop_when_done(self) -> None:
        if self.is_stopping and not self.connections and not self.stopped.done():
            self.stopped.set_result(None)


def _writer() -> Writer | None:
    """Return the writer whose lane runs short requests, or None if they may have to wait for something else."""
    return transactions.writer() if current_log().fits_lane else None


def _environ(connection: Connection, request: Incoming, base: dict[str, Any]) -> dict[str, Any]:
    """Return the WSGI environment. Raises Abandoned if the client has gone, so that its request is not processed."""
    if connection.working is not request:
        raise Abandoned
    request.is_started = True
    return request.environ(base)


def serve(application: Application, listener: socket.socket, parent: int) -> None:
    """Serve until SIGTERM, or until the pipe `parent` closes because the parent process is gone."""
    return_memory()
    uvloop.run(_serve(application, listener, parent))


async def _serve(application: Application, listener: socket.socket, parent: int) -> None:
    loop = asyncio.get_running_loop()
    server = Server(application, listener.getsockname()[:2], loop)
    accepting = await loop.create_server(lambda: Connection(server), sock=listener, backlog=4096)
    host, port = listener.getsockname()[:2]
    log.info("listening", host=host, port=port, database=describe())
    ending = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    loop.add_reader(parent, ending.set)
    await ending.wait()
    # A second SIGTERM must not interrupt the shutdown.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    loop.remove_reader(parent)
    admit_no_more(listener)
    await asyncio.sleep(LAST_CLIENTS_SECONDS)
    accepting.close()
    server.stop()
    await server.stopped
    server.admission.sweep()
