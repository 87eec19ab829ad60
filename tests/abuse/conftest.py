"""An innocent client that measures what it gets while somebody attacks the same server."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from devservers.takhin import LiveServer

PAUSE_SECONDS = 0.02
# What 99 of 100 requests of the innocent client take at most, and what every probe does.
# A shared machine that pauses for a moment needs more; an attack that works costs others many seconds.
MOST_SECONDS = float(os.environ.get("ABUSE_MOST_SECONDS", "0.25"))
MIB = 1024 * 1024


class Innocent(threading.Thread):
    """Produces one record after another, and probes in between, as an orchestrator does."""

    def __init__(self, server: LiveServer) -> None:
        super().__init__(daemon=True)
        self._url = server.url
        self._stopping = threading.Event()
        self.seconds: list[float] = []
        self.probes: list[float] = []
        self.statuses: list[int] = []

    def run(self) -> None:
        with requests.Session() as http:
            while not self._stopping.wait(PAUSE_SECONDS):
                started = time.perf_counter()
                answer = http.post(f"{self._url}/api/topics/innocent/produce", b'{"records":[{"value":1}]}', timeout=30)
                between = time.perf_counter()
                self.statuses.append(answer.status_code)
                http.get(f"{self._url}/api/health/live", timeout=30)
                self.seconds.append(between - started)
                self.probes.append(time.perf_counter() - between)

    def stop(self) -> None:
        self._stopping.set()
        self.join(60)
        assert not self.is_alive(), "the innocent client still waits for an answer"


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]


class Target:
    """A server, and what an attack costs it and its other clients."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.url = server.url

    def memory(self) -> int:
        """Bytes that the serving process holds."""
        pid = self.server.process_ids()[-1]
        fields = Path(f"/proc/{pid}/statm").read_text().split()
        return int(fields[1]) * 4096

    @contextmanager
    def under_attack(self, seconds: float, most_memory: int = 150 * MIB) -> Iterator[None]:
        """Run an attack in the block, go on for a while, and judge what the innocent client saw."""
        before = self.memory()
        innocent = Innocent(self.server)
        innocent.start()
        try:
            yield
            time.sleep(seconds)
        finally:
            innocent.stop()
        print(
            f"{len(innocent.seconds)} requests, p99 {p99(innocent.seconds) * 1000:.0f} ms; "
            f"probes p99 {p99(innocent.probes) * 1000:.0f} ms; memory {(self.memory() - before) / MIB:+.0f} MiB"
        )
        assert set(innocent.statuses) == {200}
        assert len(innocent.seconds) > seconds
        assert p99(innocent.seconds) < MOST_SECONDS
        assert p99(innocent.probes) < MOST_SECONDS
        assert self.memory() - before < most_memory


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    server = LiveServer(tmp_path_factory.mktemp("abuse") / "data").start("--demo")
    assert server.saw("Ctrl-C stops the server.")
    server.create_topic("innocent")
    server.create_topic("attacked")
    target = Target(server)
    # A first round of everything that is loaded when it is first needed.
    for _ in range(20):
        server.produce("innocent", [{"value": 1}])
    yield target
    server.stop()
