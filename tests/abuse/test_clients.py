"""Slow, silent and greedy clients cost the server little, and others nothing."""

import socket
import threading
import time
from contextlib import ExitStack, suppress

import pytest
import requests

from tests.abuse.conftest import MIB, Target
from tests.raw import Client, chunk, head, post

pytestmark = [pytest.mark.no_database, pytest.mark.abuse]

PRODUCE = "/api/topics/attacked/produce"
SECONDS = 4.0
MANY = 1000
LIVE = head("GET", "/api/health/live")
RECORD = b'{"value":"%s"}' % (b"x" * 1_000_000)
TEN_MEGABYTES = b'{"records":[%s]}' % b",".join([RECORD] * 10)
ONE_MEGABYTE = b'{"records":[%s]}' % RECORD

STARTS = {
    "half a body": post(PRODUCE, b"{", length=1000),
    "a chunk to nowhere": head("POST", "/nowhere", "Transfer-Encoding: chunked") + chunk(b"a"),
    "half a head": b"GET /api/topics HTTP/1.1\r\nHost: local",
    "half a login": post("/admin/login/", b"username=", length=1000),
    "nothing": b"",
    "idle after a request": LIVE,
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS.keys())
def test_a_thousand_that_wait(target: Target, start: bytes) -> None:
    with ExitStack() as stack, target.under_attack(SECONDS, 100 * MIB):
        for _ in range(MANY + 100):
            stack.enter_context(Client(target.url)).socket.sendall(start)


def test_a_thousand_that_trickle(target: Target) -> None:
    with ExitStack() as stack, target.under_attack(0, 100 * MIB):
        clients = [stack.enter_context(Client(target.url)) for _ in range(MANY)]
        for client in clients:
            client.socket.sendall(post(PRODUCE, b"{", length=100_000))
        for _ in range(5):
            for client in clients:
                with suppress(OSError):
                    client.socket.sendall(b" ")
            time.sleep(0.5)


def test_clients_that_take_nothing_of_what_they_asked_for(target: Target) -> None:
    for _ in range(8):
        assert requests.post(target.url + PRODUCE, ONE_MEGABYTE, timeout=30).status_code == 200
    with ExitStack() as stack, target.under_attack(SECONDS):
        for _ in range(30):
            time.sleep(0.1)
            client = stack.enter_context(Client(target.url))
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with suppress(OSError):
                client.socket.sendall(head("GET", "/api/topics/attacked/messages?partition=0&offset=0&limit=1000"))


@pytest.mark.parametrize(("count", "body"), [(64, TEN_MEGABYTES), (200, ONE_MEGABYTE)], ids=["64x10MB", "200x1MB"])
def test_large_bodies_leave_no_memory_behind(target: Target, count: int, body: bytes) -> None:
    before = target.memory()
    statuses: list[int] = []

    def send() -> None:
        statuses.append(requests.post(target.url + PRODUCE, body, timeout=60).status_code)

    for _ in range(2):
        threads = [threading.Thread(target=send) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(statuses) == 2 * count
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) > count / 10
    assert target.memory() - before < 150 * MIB


def test_memory_stays_flat_over_many_large_bodies(target: Target) -> None:
    """Bodies of one client, one after another, used to pile up to gigabytes."""
    with requests.Session() as http:
        for _ in range(10):
            http.post(target.url + PRODUCE, TEN_MEGABYTES, timeout=60)
        before = target.memory()
        for _ in range(90):
            assert http.post(target.url + PRODUCE, TEN_MEGABYTES, timeout=60).status_code == 200

    assert target.memory() - before < 100 * MIB


def test_a_connection_that_sends_nothing_is_closed(target: Target) -> None:
    with Client(target.url, timeout=40) as client:
        assert client.is_closed()
