"""The clients of docs/clients do what the guide says of them, each in its own language."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from devservers import ROOT
from devservers.takhin import LiveServer

pytestmark = [pytest.mark.external, pytest.mark.no_database]

CLIENTS = ROOT / "docs" / "clients"
Client = Callable[[str], "subprocess.CompletedProcess[str]"]


def find(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


@pytest.fixture(scope="session")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    go, folder = find("go"), tmp_path_factory.mktemp("go")
    source = str(CLIENTS / "go" / "main.go")
    for command in ([go, "vet", source], [go, "build", "-o", str(folder / "client"), source]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    return [str(folder / "client")]


@pytest.fixture(params=["python", "javascript", "go"])
def client(request: pytest.FixtureRequest) -> Client:
    """Runs a client's `main` against an address."""
    if request.param == "python":
        command = [sys.executable, str(CLIENTS / "python" / "takhin_client.py")]
    elif request.param == "javascript":
        command = [find("node"), str(CLIENTS / "javascript" / "takhin-client.mjs")]
    else:
        command = request.getfixturevalue("go_client")

    def run(url: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "TAKHIN_URL": url, "TAKHIN_KEY": "tk_any"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return run


NOW = {"Retry-After": "0"}
LOST_RESPONSE: tuple[int, dict[str, str], Any] = (0, {}, None)


class Gate(ThreadingHTTPServer):
    """A proxy before the live server that gives `answers` first, and from then on passes every request through.

    `None` among the answers passes that request through, and `LOST_RESPONSE` passes it through and then disconnects.
    `seen` has the records of every produce request, and `keys` its idempotency key.
    """

    daemon_threads = True

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.url = url, f"http://127.0.0.1:{self.server_port}"
        self.answers: list[tuple[int, dict[str, str], Any] | None] = []
        self.seen: list[list[Any]] = []
        self.keys: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Gate
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(json.loads(body)["records"])
        self.server.keys.append(self.headers["Idempotency-Key"])
        self._answer(body)

    def do_GET(self) -> None:
        self._answer(None)

    def _answer(self, body: bytes | None) -> None:
        scripted = self.server.answers.pop(0) if self.server.answers else None
        if scripted is not None and scripted is not LOST_RESPONSE:
            status, headers, content = scripted
            payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        else:
            kept = {name: value for name, value in self.headers.items() if name == "Idempotency-Key"}
            passed = requests.request(self.command, self.server.target + self.path, data=body, headers=kept, timeout=40)
            status, headers, payload = passed.status_code, {}, passed.content
        if scripted is LOST_RESPONSE:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(payload))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *args: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def gate(live: LiveServer) -> Iterator[Gate]:
    with Gate(live.url) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


BUSY = {"error": "log unavailable", "code": "log_unavailable", "detail": "the database is busy", "retriable": True}
WRITTEN = {"partition": 0, "offset": 77, "timestamp": 1}
LOST = {"error": "record 1: the database is busy", "code": "log_unavailable", "retriable": True}
BAD = {"error": "record 2: no string", "code": "serialization_failed", "retriable": False}


def test_it_works(client: Client, live: LiveServer) -> None:
    done = client(live.url)
    assert done.returncode == 0, done.stderr
    first, second, third, last = done.stdout.splitlines()
    place = re.fullmatch(r"record 0 is at partition (\d), offset (\d+)", first)
    assert place is not None
    assert re.fullmatch(r"record 1 is at partition \d, offset \d+", second)
    assert third == "record 2 failed: serialization_failed"
    assert re.match(r"req_[0-9a-f]{32} completed: ", last)
    stored = live.read("demo", int(place[1]))[int(place[2])]
    assert (stored["key"], stored["value"]) == ('"user-1"', "signup")


@pytest.mark.parametrize("status", [409, 429, 503, 504])
def test_it_comes_back_when_told_to(client: Client, gate: Gate, status: int) -> None:
    gate.answers = [(status, NOW, BUSY), (status, NOW, BUSY)]
    done = client(gate.url)
    assert done.returncode == 0, done.stderr
    # Three tries of the first batch, and the async one.
    assert [len(records) for records in gate.seen] == [3, 3, 3, 1]
    assert len(set(gate.keys[:3])) == 1
    assert gate.keys[3] not in gate.keys[:3]


def test_a_lost_response_writes_nothing_twice(client: Client, gate: Gate, live: LiveServer) -> None:
    gate.answers = [LOST_RESPONSE]
    before = sum(len(live.read("demo", partition)) for partition in range(3))

    done = client(gate.url)

    assert done.returncode == 0, done.stderr
    assert gate.keys[0] == gate.keys[1]
    # Two of the first batch, and one of the async request.
    assert sum(len(live.read("demo", partition)) for partition in range(3)) == before + 3


def test_an_outcome_in_doubt_is_asked_for_again(client: Client, gate: Gate) -> None:
    unknown = {"error": "record 0: in doubt", "code": "outcome_unknown", "retriable": False}
    gate.answers = [(504, NOW, {**BUSY, "offsets": [unknown, unknown, unknown]})]
    done = client(gate.url)
    assert done.returncode == 0, done.stderr
    assert [len(records) for records in gate.seen] == [3, 3, 1]
    assert gate.keys[0] == gate.keys[1]
    assert "record 0 is at partition" in done.stdout


def test_it_sends_again_only_what_may_be_retried(client: Client, gate: Gate) -> None:
    gate.answers = [(200, NOW, {"offsets": [WRITTEN, LOST, BAD]})]
    done = client(gate.url)
    assert done.returncode == 0, done.stderr
    assert gate.seen[1] == [gate.seen[0][1]]
    first, second, third, _ = done.stdout.splitlines()
    assert first == "record 0 is at partition 0, offset 77"
    assert re.fullmatch(r"record 1 is at partition \d, offset \d+", second)
    assert third == "record 2 failed: serialization_failed"


def test_it_sends_again_when_no_record_could_be_written(client: Client, gate: Gate) -> None:
    gate.answers = [(503, NOW, {**BUSY, "offsets": [LOST, LOST, LOST]})]
    done = client(gate.url)
    assert done.returncode == 0, done.stderr
    assert [len(records) for records in gate.seen] == [3, 3, 1]
    assert "record 0 is at partition" in done.stdout


def test_it_does_not_send_the_rest_of_a_strict_request_alone(client: Client, gate: Gate) -> None:
    untried = {"error": "record 0: not attempted", "code": "not_attempted", "retriable": False}
    gate.answers = [(422, {}, {**BUSY, "offsets": [untried, untried, BAD]})]
    done = client(gate.url)
    assert done.returncode == 0, done.stderr
    assert [len(records) for records in gate.seen] == [3, 1]
    assert "record 0 failed: not_attempted" in done.stdout


def test_it_asks_again_while_the_request_is_pending(client: Client, gate: Gate) -> None:
    gate.answers = [None, None, (200, NOW, {"requestId": "req_1", "status": "pending"})]
    done = client(gate.url)
    assert done.returncode == 0, done.stderr
    assert " completed: " in done.stdout


@pytest.mark.parametrize("answer", [{"error": "topic not found", "detail": "no such topic"}, b"<html>topic not found"])
def test_it_says_why_a_request_was_refused(client: Client, gate: Gate, answer: Any) -> None:
    gate.answers = [(404, {}, answer)]
    done = client(gate.url)
    assert done.returncode == 1
    assert "topic not found" in done.stderr
    assert len(gate.seen) == 1
