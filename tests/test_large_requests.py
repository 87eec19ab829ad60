"""Large requests take turns, and those that would wait too long for theirs are rejected before they have arrived."""

import json
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from devservers.mock_kafka import MockCluster
from devservers.takhin import LiveServer

pytestmark = [pytest.mark.no_database, pytest.mark.sqlite]

MB = 1_000_000


def body(megabytes: int) -> bytes:
    return json.dumps({"records": [{"value": "x" * (MB - 100)} for _ in range(megabytes)]}).encode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path / "data").start()
    server.create_topic("orders")
    yield server
    server.kill()


def send(server: LiveServer, count: int, data: bytes, pause: float = 0, query: str = "") -> list[requests.Response]:
    """Send requests without waiting for their responses. `query` may contain the number of the request."""
    answers: list[requests.Response] = []

    def send_one(number: int) -> None:
        url = f"{server.url}/api/topics/orders/produce{query.format(number)}"
        answers.append(requests.post(url, data, timeout=60))

    threads = [threading.Thread(target=send_one, args=[number]) for number in range(1, count + 1)]
    for thread in threads:
        thread.start()
        time.sleep(pause)
    for thread in threads:
        thread.join()
    return answers


def test_it_works(server: LiveServer) -> None:
    """Everything that fitted into memory was accepted, and its clients waited for seconds, with everybody else."""
    answers = send(server, 60, body(10))

    rejected = [answer for answer in answers if answer.status_code != 200]
    assert len(rejected) < len(answers) - 2
    assert any("large requests wait for their turn" in answer.json()["detail"] for answer in rejected)
    for answer in rejected:
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        assert answer.headers["Retry-After"] == "1"
    assert server.produce("orders", [{"value": "x" * MB}]).status_code == 200
    assert sum(len(server.read("orders", number)) for number in range(3)) == 10 * (60 - len(rejected)) + 1


def test_four_clients_may_send_the_largest_bodies(server: LiveServer) -> None:
    for _ in range(3):
        answers = send(server, 4, body(10))

        assert [answer.status_code for answer in answers] == [200] * 4


def test_requests_that_were_answered_take_no_room(server: LiveServer) -> None:
    url = f"{server.url}/api/topics"
    for path, status in (("nowhere/produce", 404), ("orders/produce?compression=brotli", 400), ("orders/produce", 415)):
        for _ in range(5):
            headers = {"Content-Type": "text/html"} if status == 415 else {}
            assert requests.post(f"{url}/{path}", body(3), headers=headers, timeout=30).status_code == status
        assert requests.post(f"{url}/orders/produce", body(3), timeout=30).status_code == 200


def test_who_has_no_key_takes_no_room(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_REQUIRE_API_KEY="true").start()
    try:
        key = server.manage("create_api_key", "writer").split()[-1]
        server.http.headers["Authorization"] = f"Bearer {key}"
        server.create_topic("orders")
        is_over = threading.Event()

        def intrude() -> None:
            while not is_over.is_set():
                with socket.create_connection(("127.0.0.1", server.port)) as connection:
                    head = (
                        b"POST /api/topics/orders/produce HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n"
                    )
                    connection.sendall(head + b'\r\n{"rec')
                    assert connection.recv(1000).startswith(b"HTTP/1.1 401")

        intruders = [threading.Thread(target=intrude) for _ in range(4)]
        for intruder in intruders:
            intruder.start()
        statuses = {server.http.post(f"{server.url}/api/topics/orders/produce", body(1)).status_code for _ in range(20)}
        is_over.set()
        for intruder in intruders:
            intruder.join()
    finally:
        server.kill()

    assert statuses == {200}


def test_a_request_that_waits_for_its_commit_lets_the_next_one_go_on(server: LiveServer) -> None:
    """Otherwise one topic or database that is slow would have all large requests rejected."""
    path = server.folder / "takhin.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        end = threading.Timer(4, other.execute, ["ROLLBACK"])
        end.start()
        answers = send(server, 12, body(4), pause=0.25)
        end.join()

    assert [answer.status_code for answer in answers] == [200] * 12


def test_a_request_that_waits_for_a_broker_lets_the_next_one_go_on(tmp_path: Path) -> None:
    with MockCluster() as cluster:
        for name, partitions in (("orders", 3), ("_takhin_outcomes", 1)):
            cluster.create_topic(name, partitions)
        server = LiveServer(tmp_path / "data", TAKHIN_LOG="kafka", KAFKA_BOOTSTRAP_SERVERS=cluster.bootstrap).start()
        try:
            assert server.produce("orders", [{"value": 1}]).status_code == 200
            cluster.set_round_trip(1000)
            answers = send(server, 10, body(4), pause=0.25)
        finally:
            server.kill()

    assert 503 not in [answer.status_code for answer in answers]


class SlowRegistry(BaseHTTPRequestHandler):
    """Knows no schema, and takes a second to say so."""

    def do_GET(self) -> None:
        time.sleep(1)
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_request_that_waits_for_a_registry_lets_the_next_one_go_on(tmp_path: Path) -> None:
    registry = ThreadingHTTPServer(("127.0.0.1", 0), SlowRegistry)
    threading.Thread(target=registry.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{registry.server_port}"
    server = LiveServer(tmp_path / "data", SCHEMA_REGISTRY_URL=url).start()
    server.create_topic("orders")
    try:
        answers = send(server, 10, body(4), pause=0.25, query="?value.format=avro&value.schema.id={}")
    finally:
        server.kill()
        registry.shutdown()
        registry.server_close()

    # Few may ask a slow registry at the same time.
    assert {answer.json()["code"] for answer in answers} <= {"schema_not_found", "registry_unavailable"}
