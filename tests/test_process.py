"""The processes behind `manage.py serve`: one serves, the other keeps it alive, and both end when they are told to."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import requests

from devservers.takhin import LiveServer
from tests.raw import head

pytestmark = pytest.mark.no_database


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path / "data").start().create_topic("demo")
    yield server
    server.stop()


def soon(check: Callable[[], object], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def serving(server: LiveServer) -> int:
    (_, child) = server.process_ids()
    return child


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def crash(server: LiveServer) -> None:
    before = serving(server)
    os.kill(before, signal.SIGKILL)
    assert soon(lambda: set(server.process_ids()[1:]) - {before})


def events(server: LiveServer, name: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def test_a_crashed_process_is_started_again_and_the_reason_is_logged(server: LiveServer) -> None:
    """Two crashes within five seconds used to end the server without a word."""
    for _ in range(3):
        crash(server)
        server.wait_until_ready()

    assert server.produce("demo", [{"value": 1}]).status_code == 200
    assert [event["reason"] for event in events(server, "process_ended")] == ["signal SIGKILL"] * 3


def test_one_that_crashes_again_and_again_ends_the_server_with_the_reason(server: LiveServer) -> None:
    for _ in range(4):
        crash(server)
    os.kill(serving(server), signal.SIGKILL)
    assert server._process is not None

    assert server._process.wait(20) == 1
    (stopped,) = events(server, "server_gives_up")
    assert "5 crashes" in str(stopped["reason"])


def test_the_serving_process_ends_with_its_parent(server: LiveServer) -> None:
    """It used to serve on as an orphan, and the next start said "Address already in use"."""
    parent, child = server.process_ids()
    os.kill(parent, signal.SIGKILL)
    assert server._process is not None
    server._process.wait(5)

    assert soon(lambda: not is_running(child))
    server.start()
    assert server.produce("demo", [{"value": 1}]).status_code == 200


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_signals_that_repeat_end_it_once(server: LiveServer, kind: signal.Signals) -> None:
    assert server._process is not None
    for _ in range(20):
        try:
            os.killpg(server._process.pid, kind)
        except ProcessLookupError:
            break
        time.sleep(0.01)

    assert server._process.wait(20) == 0


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_it_starts_is_no_crash_and_leaves_nobody_behind(tmp_path: Path, kind: signal.Signals) -> None:
    """It used to end with 1, as a crash does, and the demo went on for half a minute."""
    server = LiveServer(tmp_path / "data").start()
    server.stop()
    with server.log.open("ab") as log:
        process = subprocess.Popen(
            server.command("serve", "--demo"), env=server.environment, stdout=log, stderr=log, start_new_session=True
        )
    children: list[str] = []

    def has_children() -> bool:
        children[:] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return len(children) == 2

    assert soon(has_children)
    os.killpg(process.pid, kind)

    assert process.wait(20) == 0
    assert soon(lambda: not any(is_running(int(child)) for child in children), 5)


def test_a_stop_refuses_new_clients_at_once(server: LiveServer) -> None:
    assert server._process is not None
    half = requests.Session()
    half.get(server.url + "/api/health/live", timeout=5)
    server._process.send_signal(signal.SIGTERM)

    assert soon(lambda: refuses(server), 5)
    assert server._process.wait(20) == 0


def test_a_stop_resets_no_client_that_has_connected(server: LiveServer) -> None:
    """The kernel opens connections before the server accepts them. A reset one may be that of a processed request."""
    port = server.port
    errors: list[OSError] = []
    answered = threading.Event()

    def connect_until_refused() -> None:
        while True:
            try:
                client = socket.create_connection(("127.0.0.1", port), timeout=10)
            except ConnectionRefusedError:
                return
            with client:
                try:
                    client.sendall(head("GET", "/api/health/live"))
                    assert client.recv(100).startswith(b"HTTP/1.1 200")
                    answered.set()
                except OSError as error:
                    errors.append(error)

    with ThreadPoolExecutor(12) as pool:
        clients = [pool.submit(connect_until_refused) for _ in range(12)]
        assert answered.wait(10)
        time.sleep(0.3)
        assert server.terminate() == 0
    for client in clients:
        client.result()

    assert errors == []


def refuses(server: LiveServer) -> bool:
    try:
        requests.get(server.url + "/api/health/live", timeout=5)
    except requests.ConnectionError:
        return True
    return False


@pytest.mark.sqlite
def test_a_stop_while_the_database_is_waited_for_answers_what_is_in_flight(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_PRODUCE_TIMEOUT="3s").start().create_topic("demo")
    assert server._process is not None
    with closing(sqlite3.connect(server.folder / "takhin.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(server.produce, "demo", [{"value": number}]) for number in range(4)]
            time.sleep(0.5)
            server._process.send_signal(signal.SIGTERM)
            statuses = [one.result().status_code for one in waiting]
        code = server._process.wait(20)
        other.execute("ROLLBACK")

    assert statuses == [503] * 4
    assert code == 0
