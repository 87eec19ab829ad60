"""Several serving processes are one server to its clients: they share the port, the workers and the wake-ups."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from devservers.takhin import LiveServer
from tests.test_process import events, soon

pytestmark = pytest.mark.no_database


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path / "data", TAKHIN_PROCESSES="2").start()
    server.create_topic("orders")
    yield server
    server.stop()


def produce(server: LiveServer, value: int) -> Any:
    """Produce on a connection of its own, which the kernel gives to any of the processes."""
    body = {"records": [{"key": "k", "value": value}]}
    answer = requests.post(f"{server.url}/api/topics/orders/produce", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["offsets"][0]["offset"]


def test_it_works(server: LiveServer) -> None:
    with ThreadPoolExecutor(16) as pool:
        offsets = list(pool.map(lambda value: produce(server, value), range(400)))

    assert sorted(offsets) == list(range(400))
    _, *children = server.process_ids()
    assert len(children) == 2
    assert all(ticks(child) > 20 for child in children)


def ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()
    return int(fields[11]) + int(fields[12])


def test_a_process_that_is_killed_is_replaced_while_the_other_serves(server: LiveServer) -> None:
    parent, killed, other = server.process_ids()
    os.kill(killed, signal.SIGKILL)

    assert soon(lambda: len(set(server.process_ids()) - {parent, other, killed}) == 1)
    assert other in server.process_ids()
    assert sorted(produce(server, value) for value in range(50)) == list(range(50))
    assert [event["reason"] for event in events(server, "process_ended")] == ["signal SIGKILL"]


def test_a_wait_ends_whichever_process_has_the_worker(server: LiveServer) -> None:
    """One worker, in one of two processes: half of the requests wait in the other one."""

    def through(value: int) -> None:
        with requests.Session() as http:
            body = {"records": [{"value": value}]}
            answer = http.post(f"{server.url}/api/topics/orders/produce?async=true", json=body, timeout=30)
            assert answer.status_code == 202, answer.text
            found = http.get(f"{server.url}/api/produce/status/{answer.json()['requestId']}?wait=10", timeout=30)
            assert found.json()["status"] == "completed", found.text

    for value in range(30):
        through(value)


def test_a_stop_answers_what_is_in_flight_in_every_process(server: LiveServer) -> None:
    answered: list[int] = []

    def keep_producing() -> None:
        while True:
            try:
                produce(server, 1)
            except requests.RequestException:
                return
            answered.append(1)

    clients = [threading.Thread(target=keep_producing) for _ in range(8)]
    for client in clients:
        client.start()
    time.sleep(1)
    assert server.stop() == 0
    for client in clients:
        client.join()

    again = LiveServer(server.folder)
    again.start()
    try:
        assert sum(len(again.read("orders", number)) for number in range(3)) >= len(answered) > 0
    finally:
        again.stop()


def test_a_port_in_use_ends_the_start_in_one_line(server: LiveServer, tmp_path: Path) -> None:
    second = LiveServer(tmp_path / "second", TAKHIN_PROCESSES="2", TAKHIN_PORT=str(server.port))
    with pytest.raises(AssertionError, match=r"cannot listen on 127\.0\.0\.1:\d+ .*Address already in use"):
        second.start()


def test_memory_cannot_be_shared(tmp_path: Path) -> None:
    refused = LiveServer(tmp_path / "data", TAKHIN_PROCESSES="2", TAKHIN_LOG="memory")
    with pytest.raises(AssertionError, match="TAKHIN_PROCESSES must be 1 with TAKHIN_LOG=memory"):
        refused.start()
