"""The server in a thread of the test's own process, with an application and limits of the test's choice."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import uvloop

from takhin_site.server.answers import Application
from takhin_site.server.connection import Connection
from takhin_site.server.serving import Server


class Parts(list[bytes]):
    """A response's body as Django's has it."""

    def close(self) -> None: ...


class InsideServer:
    def __init__(self, application: Application) -> None:
        self._application = application
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._serve()), daemon=True)
        self.server: Server
        self.url = ""

    def __enter__(self) -> "InsideServer":
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self._ending.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._loop, self._ending = loop, asyncio.Event()
        self.server = Server(self._application, ("127.0.0.1", 0), loop)
        accepting = await loop.create_server(lambda: Connection(self.server), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{accepting.sockets[0].getsockname()[1]}"
        self._started.set()
        await self._ending.wait()
        accepting.close()
        self.server._stop_all()
        await asyncio.sleep(0.05)

    def call(self, function: Callable[[], Any]) -> Any:
        """What `function` returns in the event loop's thread."""
        done: list[Any] = []
        called = threading.Event()

        def run() -> None:
            done.append(function())
            called.set()

        self._loop.call_soon_threadsafe(run)
        assert called.wait(10)
        return done[0]
