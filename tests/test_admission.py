"""What the server has no room for is rejected at once, and what nobody waits for is not done."""

import contextlib
import gzip
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from devservers.takhin import LiveServer
from producer.api import admission
from producer.models import ProduceRequest
from producer.queue.threads import new_worker
from tests.conftest import Api
from tests.raw import Client, chunk, head, post
from tests.test_keys import make_key

pytestmark = pytest.mark.usefixtures("no_server_left")

BROKEN = b"{ this would be 400 if it were parsed"


def submit(api: Api, topic: str = "orders", body: Any = None, **headers: str) -> Any:
    return api.post(f"/api/topics/{topic}/produce?async=true", body or {"records": [{"value": 1}]}, **headers)


def assert_overloaded(answer: Any, setting: str) -> None:
    assert answer.status_code == 503, answer.content
    assert answer.json()["code"] == "overloaded"
    assert answer.json()["retriable"] is True
    assert setting in answer.json()["detail"]
    assert answer["Retry-After"] == "1"


# The backlog


def test_no_more_requests_become_pending_than_there_is_room_for(api: Api, topic: str, settings: Any) -> None:
    settings.TAKHIN_MAX_PENDING = 2

    answers = [submit(api) for _ in range(2)]
    assert_overloaded(submit(api, body=BROKEN), "TAKHIN_MAX_PENDING")
    sync = api.produce(topic, [{"value": 1}])
    new_worker().work_once()
    admission.forget()

    assert [answer.status_code for answer in answers] == [202, 202]
    assert sync.status_code == 200
    assert submit(api).status_code == 202
    assert ProduceRequest.objects.filter(mode="async").count() == 3


def test_pending_bytes_are_limited(api: Api, topic: str, settings: Any) -> None:
    settings.TAKHIN_MAX_PENDING_BYTES = 1500
    body = json.dumps({"records": [{"value": "x" * 1000}]}).encode()

    assert submit(api, body=body).status_code == 202
    assert_overloaded(submit(api, body=body), "TAKHIN_MAX_PENDING_BYTES")
    assert submit(api).status_code == 202


@pytest.mark.parametrize("setting", ["TAKHIN_MAX_PENDING_PER_KEY", "TAKHIN_MAX_PENDING_BYTES_PER_KEY"])
def test_one_key_leaves_room_for_others(api: Api, topic: str, settings: Any, setting: str) -> None:
    settings.TAKHIN_REQUIRE_API_KEY = True
    setattr(settings, setting, 60 if "BYTES" in setting else 2)
    busy, other = make_key(name="busy"), make_key(name="other")

    answers = [submit(api, Authorization=busy) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [202, 202, 503]
    assert_overloaded(answers[2], setting)
    assert submit(api, Authorization=other).status_code == 202


def test_what_other_processes_accepted_counts_too(api: Api, topic: str, settings: Any) -> None:
    settings.TAKHIN_MAX_PENDING = 3
    for _ in range(3):
        assert submit(api).status_code == 202
    # This process has just begun.
    admission.forget()
    admission._backlog._by_key = {}

    assert_overloaded(submit(api), "TAKHIN_MAX_PENDING")


def test_a_retry_of_an_accepted_request_is_no_new_one(api: Api, topic: str, settings: Any) -> None:
    settings.TAKHIN_MAX_PENDING = 2
    first = submit(api, **{"Idempotency-Key": "k"})

    assert submit(api, **{"Idempotency-Key": "k"}).json() == first.json()
    assert submit(api).status_code == 202


# The disk


@pytest.mark.sqlite
def test_intake_stops_before_the_disk_is_full(api: Api, topic: str, settings: Any) -> None:
    assert api.produce(topic, [{"value": 1}]).status_code == 200
    settings.TAKHIN_MIN_FREE_DISK = 2**60
    admission.forget()

    assert_overloaded(api.produce(topic, BROKEN), "TAKHIN_MIN_FREE_DISK")
    assert_overloaded(submit(api, body=BROKEN), "TAKHIN_MIN_FREE_DISK")
    assert_overloaded(api.post("/api/produce", BROKEN), "TAKHIN_MIN_FREE_DISK")
    ready = api.get("/api/health/ready")
    assert ready.status_code == 503
    assert "disk" in ready.json()["failing"]
    assert "TAKHIN_MIN_FREE_DISK" in ready.json()["reasons"]["disk"]
    assert len([one for number in range(3) for one in api.messages(topic, partition=number)]) == 1
    assert api.client.delete(f"/api/topics/{topic}").status_code == 204

    settings.TAKHIN_MIN_FREE_DISK = 0
    assert api.get("/api/health/ready").status_code == 200


# Requests in progress


@contextlib.contextmanager
def locked(server: LiveServer) -> Iterator[None]:
    """Lock the database as another process would, so that requests wait."""
    connection = sqlite3.connect(server.folder / "takhin.sqlite3", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def start_sending(server: LiveServer, path: str, body: bytes, *fields: str) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), timeout=30)
    client.sendall(post(path, body, *fields))
    return client


@pytest.fixture
def one_thread(tmp_path: Path) -> Iterator[LiveServer]:
    """A server whose only thread is busy as soon as one compressed body waits for the database."""
    server = LiveServer(tmp_path / "data", TAKHIN_THREADS="1", TAKHIN_WORKERS="0", TAKHIN_PRODUCE_TIMEOUT="20s")
    server.start().create_topic("orders", 1)
    yield server
    server.stop()


def compressed(value: int) -> bytes:
    return gzip.compress(b'{"records":[{"value":%d}]}' % value)


PRODUCE = "/api/topics/orders/produce"
GZIP = "Content-Encoding: gzip"


@pytest.mark.sqlite
@pytest.mark.no_database
def test_too_many_requests_in_progress_are_rejected_at_once(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_MAX_IN_FLIGHT="2", TAKHIN_PRODUCE_TIMEOUT="20s").start()
    server.create_topic("orders", 1)
    answers: list[int] = []

    def send() -> None:
        answers.append(server.produce("orders", [{"value": 1}]).status_code)

    senders = [threading.Thread(target=send) for _ in range(2)]
    with locked(server):
        for sender in senders:
            sender.start()
        time.sleep(1)
        rejected = [requests.post(server.url + PRODUCE, data=BROKEN, timeout=10) for _ in range(20)]
        live = requests.get(f"{server.url}/api/health/live", timeout=10)
    for sender in senders:
        sender.join()
    after = server.produce("orders", [{"value": 2}])
    stored = server.read("orders", 0)
    server.stop()

    for answer in rejected:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["code"] == "overloaded"
        assert answer.json()["retriable"] is True
        assert answer.json()["instance"] == answer.headers["X-Request-Id"]
        assert "TAKHIN_MAX_IN_FLIGHT" in answer.json()["detail"]
        assert server.saw(answer.headers["X-Request-Id"])
    assert live.status_code == 200
    assert answers == [200, 200]
    assert after.status_code == 200
    assert [record["value"] for record in stored] == ["1", "1", "2"]


ONE = b'{"records":[{"value":1}]}'
CHUNKED = "Transfer-Encoding: chunked"
# What clients send at once, the statuses of the responses, and whether the connection stays open.
AT_ONCE = {
    "one": (post(PRODUCE, ONE), [503], True),
    "kept alive": (post(PRODUCE, ONE, "Connection: keep-alive"), [503], True),
    "to several topics": (post("/api/produce?async=true", ONE), [503], True),
    "two": (post(PRODUCE, ONE) * 2, [503, 503], True),
    "one and the head of another": (post(PRODUCE, ONE) + head("GET", "/api/health/live"), [503, 200], True),
    "nothing after its head": (post(PRODUCE, b""), [503], True),
    "its last": (post(PRODUCE, ONE, "Connection: close"), [503], False),
    "in chunks": (head("POST", PRODUCE, CHUNKED) + chunk(ONE) + chunk(b""), [503], True),
    "expecting to go on": (post(PRODUCE, ONE, "Expect: 100-continue"), [503], True),
    "without a host": (post(PRODUCE, ONE).replace(b"Host: localhost\r\n", b""), [400], False),
    "with two lengths": (post(PRODUCE, ONE, "Content-Length: 5"), [400], False),
    "with a length and chunks": (post(PRODUCE, ONE, CHUNKED), [400], False),
    "with a line that ends early": (post(PRODUCE, ONE, f"A: b\n{CHUNKED}"), [400], False),
    "with a name that ends with a space": (post(PRODUCE, ONE, "A : b"), [400], False),
    "of an older protocol": (post(PRODUCE, ONE).replace(b"HTTP/1.1", b"HTTP/1.0"), [503], False),
    "more than its length": (post(PRODUCE, ONE, length=10), [503, 400], False),
    "probe": (head("GET", "/api/health/live"), [200], True),
}


@pytest.mark.sqlite
@pytest.mark.no_database
def test_a_flood_is_rejected_as_a_single_request_is(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_MAX_IN_FLIGHT="1", TAKHIN_PRODUCE_TIMEOUT="20s").start()
    server.create_topic("orders", 1)

    def sent_at_once(data: bytes, count: int) -> tuple[list[int], bool]:
        with Client(server.url) as client:
            client.send(data)
            replies = [client.reply() for _ in range(count)]
            for reply in replies:
                assert reply.status == 200 or reply.json()["instance"] == reply.fields["x-request-id"]
                assert reply.status != 503 or reply.fields["retry-after"] == "1"
            # The next request tells faster than to wait for an end that may not come.
            with contextlib.suppress(ConnectionError):
                client.send(head("GET", "/api/health/live"))
            return [reply.status for reply in replies], client.reply().status == 200

    with locked(server):
        waiting = start_sending(server, PRODUCE, ONE)
        deadline = time.monotonic() + 20
        while requests.post(server.url + PRODUCE, data=BROKEN, timeout=10).status_code != 503:
            assert time.monotonic() < deadline
        alone = {name: sent_at_once(data, len(statuses)) for name, (data, statuses, _) in AT_ONCE.items()}
        flooded = {}
        for name, (data, statuses, _) in AT_ONCE.items():
            with Client(server.url) as flood:
                flood.send(post(PRODUCE, ONE) * 60)
                assert {flood.reply().status for _ in range(60)} == {503}
                flooded[name] = sent_at_once(data, len(statuses))
    assert waiting.recv(100).startswith(b"HTTP/1.1 200")
    waiting.close()
    stored = server.read("orders", 0)
    server.stop()

    expected = {name: (statuses, stays) for name, (_, statuses, stays) in AT_ONCE.items()}
    assert alone == expected
    assert flooded == expected
    assert len(stored) == 1
    log = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    counted = sum(line["rejected"] for line in log if line["event"] == "requests_rejected_by_server")
    single = [line for line in log if line["event"] == "request" and line.get("code") == "overloaded"]
    assert counted > 0
    assert 50 <= len(single) <= 50 * len(AT_ONCE) + len(AT_ONCE)


@pytest.mark.sqlite
@pytest.mark.no_database
def test_the_request_of_a_client_that_left_is_not_written(one_thread: LiveServer) -> None:
    with locked(one_thread):
        staying = start_sending(one_thread, PRODUCE, compressed(1), GZIP)
        time.sleep(0.5)
        start_sending(one_thread, PRODUCE, compressed(2), GZIP).close()
        time.sleep(0.5)
    assert staying.recv(100).startswith(b"HTTP/1.1 200")
    staying.close()

    # What is sent last is processed last.
    assert one_thread.produce("orders", [{"value": 3}]).status_code == 200
    assert [record["value"] for record in one_thread.read("orders", 0)] == ["1", "3"]


@pytest.mark.sqlite
@pytest.mark.no_database
def test_a_request_whose_time_is_over_is_not_written(one_thread: LiveServer) -> None:
    with locked(one_thread):
        patient = start_sending(one_thread, PRODUCE, compressed(1), GZIP)
        time.sleep(0.5)
        hasty = start_sending(one_thread, f"{PRODUCE}?timeout=300", compressed(2), GZIP)
        queued = start_sending(one_thread, f"{PRODUCE}?timeout=300&async=true", compressed(3), GZIP)
        time.sleep(0.5)
    replies = [client.recv(10_000) for client in (patient, hasty, queued)]
    for client in (patient, hasty, queued):
        client.close()

    assert [reply[9:12] for reply in replies] == [b"200", b"503", b"202"]
    assert b'"overloaded"' in replies[1]
    assert [record["value"] for record in one_thread.read("orders", 0)] == ["1"]
