"""Send requests at a fixed rate, whether or not the server keeps up, and measure each from the moment it was due.

A client that waits for each response slows down with the server, and so hides the overload. This one opens another
connection if none is idle, does not retry rejected requests, and stops sending when the server closes a connection.
"""

import asyncio
import math
import re
import resource
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import uvloop

# A connection costs the server a kilobyte or so; it accepts 10,000.
MOST_CONNECTIONS = 8000
TICK_SECONDS = 0.001
# How long the last responses may take.
PATIENCE_SECONDS = 30.0
LENGTH = re.compile(rb"content-length: (\d+)")
# The moment a response is complete, with its status and whether it says when to retry. 0 is a lost connection.
Done = Callable[["Connection", int, bool], None]


class Offered(NamedTuple):
    """What became of the requests of a load. Times are in seconds, from the moment that the request was due."""

    seconds: float
    # Until the last response.
    elapsed: float
    sent: int
    # 0 is a lost connection, and -1 a request that still waited at the end.
    statuses: Counter[int]
    accepted: list[float]
    rejected: list[float]
    # How many of the accepted requests had their response before the load ended.
    in_time: int
    without_retry_after: int
    # How late this process sent them, which is part of all times.
    late: list[float]
    connections: int
    cpu: float

    @property
    def goodput(self) -> float:
        return self.in_time / self.seconds


def post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


class Connection(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self, request: bytes, due: float, done: Done) -> None:
        self.due = due
        self._request = request
        self._done = done
        self._received = b""
        self._is_waiting = True
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._request)

    def send(self, due: float) -> None:
        self.due, self._is_waiting = due, True
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < int(LENGTH.search(head)[1]):  # type: ignore[index]
            return
        self._received = b""
        self._is_waiting = False
        self.is_open = b"connection: close" not in head
        if not self.is_open:
            # What has not been sent yet never will be.
            self._transport.abort()
        self._done(self, int(head[9:12]), b"retry-after: " in head)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._is_waiting:
            self._is_waiting = False
            self._done(self, 0, False)


class _Load:
    def __init__(self, url: str, request: bytes) -> None:
        where = urlsplit(url)
        self._address = (where.hostname, where.port)
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._idle: deque[Connection] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._began = self._now()
        self._ends = math.inf
        self._open = self.connections = 0
        self._sent = self._in_time = self._without_retry_after = 0
        self._statuses: Counter[int] = Counter()
        self._accepted: list[float] = []
        self._rejected: list[float] = []
        self._late: list[float] = []
        self._again: Callable[[], None] = lambda: None

    async def open(self, rate: float, seconds: float) -> Offered:
        """Send `rate` requests per second, evenly."""
        self._ends = self._began + seconds
        while (now := self._now()) < self._ends:
            while self._sent < rate * (now - self._began):
                due = self._began + self._sent / rate
                self._late.append(now - due)
                self._send(due)
            await asyncio.sleep(TICK_SECONDS)
        return await self._end(seconds)

    async def closed(self, connections: int, seconds: float) -> Offered:
        """Send a request on each connection as soon as the one before has its response."""
        self._ends = self._began + seconds
        self._again = lambda: self._send(self._now())
        for _ in range(connections):
            self._send(self._now())
        await asyncio.sleep(seconds)
        return await self._end(seconds)

    async def _end(self, seconds: float) -> Offered:
        self._again = lambda: None
        until = self._now() + PATIENCE_SECONDS
        while self._statuses.total() < self._sent and self._now() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        self._statuses[-1] = self._sent - self._statuses.total()
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Offered(
            seconds,
            self._now() - self._began,
            self._sent,
            self._statuses,
            self._accepted,
            self._rejected,
            self._in_time,
            self._without_retry_after,
            self._late,
            self.connections,
            used.ru_utime + used.ru_stime,
        )

    def _send(self, due: float) -> None:
        self._sent += 1
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                connection.send(due)
                return
        if self._open >= MOST_CONNECTIONS:
            self._statuses[0] += 1
            return
        self._open += 1
        self.connections = max(self.connections, self._open)
        task = self._loop.create_task(self._connect(due))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, due: float) -> None:
        try:
            await self._loop.create_connection(lambda: Connection(self._request, due, self._done), *self._address)
        except OSError:
            self._open -= 1
            self._statuses[0] += 1

    def _done(self, connection: Connection, status: int, says_when: bool) -> None:
        now = self._now()
        self._statuses[status] += 1
        if status == 200:
            self._accepted.append(now - connection.due)
            self._in_time += now <= self._ends
        elif status:
            self._rejected.append(now - connection.due)
            self._without_retry_after += not says_when
        if connection.is_open:
            self._idle.append(connection)
        else:
            self._open -= 1
        self._again()


def offer(url: str, request: bytes, rate: float, seconds: float) -> Offered:
    """Send `rate` requests per second for `seconds`. Run this in a process of its own."""
    return uvloop.run(_offer(url, request, rate, seconds))


async def _offer(url: str, request: bytes, rate: float, seconds: float) -> Offered:
    return await _Load(url, request).open(rate, seconds)


def saturate(url: str, request: bytes, connections: int, seconds: float) -> Offered:
    """Keep `connections` busy for `seconds`. Run this in a process of its own."""
    return uvloop.run(_saturate(url, request, connections, seconds))


async def _saturate(url: str, request: bytes, connections: int, seconds: float) -> Offered:
    return await _Load(url, request).closed(connections, seconds)
