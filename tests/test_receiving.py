"""Requests are received by a server that waits for nobody: only complete ones are run, and each wait has an end."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings

from core import wakeups
from core.wakeups import Waiting
from devservers.takhin import LiveServer
from takhin_site.server import limits
from takhin_site.server.connection import Connection
from tests.inside import InsideServer, Parts
from tests.raw import NOTHING, Client, chunk, head, post

pytestmark = pytest.mark.no_database

PRODUCE = "/api/topics/demo/produce"
LIVE = head("GET", "/api/health/live")
BODY = b'{"records":[{"value":"whole"}]}'
CHUNKED = "Transfer-Encoding: chunked"
NDJSON = "Content-Type: application/x-ndjson"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that is quickly full: two threads, two seconds for a body, 4 MiB for all of them."""
    server = LiveServer(
        tmp_path_factory.mktemp("receiving") / "data",
        TAKHIN_THREADS="2",
        TAKHIN_BODY_TIMEOUT="2s",
        TAKHIN_MAX_BUFFERED_BYTES=str(4 * MIB),
        TAKHIN_MAX_BODY_BYTES=str(3 * MIB),
    ).start()
    server.create_topic("demo")
    yield server
    server.stop()


def written(server: LiveServer) -> list[Any]:
    return [json.loads(record["value"]) for number in range(3) for record in server.read("demo", number)]


def is_alive(server: LiveServer) -> bool:
    with Client(server.url, timeout=2) as client:
        return client.send(LIVE).reply().status == 200


def test_it_works(server: LiveServer) -> None:
    with Client(server.url) as client:
        reply = client.send(post(PRODUCE, BODY)).reply()

    assert reply.status == 200
    assert len(reply.json()["offsets"]) == 1
    assert "date" in reply.fields


# A body that is not complete is not processed (RFC 9112, section 8).

LINE = b'{"value":"cut short"}\n'
CUT: dict[str, list[bytes]] = {
    "a chunked body without its last chunk": [head("POST", PRODUCE, CHUNKED, NDJSON), chunk(LINE)],
    "in the middle of a chunk": [head("POST", PRODUCE, CHUNKED, NDJSON), chunk(LINE)[:-10]],
    "after a chunk's size": [head("POST", PRODUCE, CHUNKED, NDJSON), chunk(LINE) + b"5\r\n"],
    "within the last chunk": [head("POST", PRODUCE, CHUNKED, NDJSON), chunk(LINE) + b"0\r\n"],
    "a corrupt chunk size": [head("POST", PRODUCE, CHUNKED, NDJSON), chunk(LINE) + b"zz\r\n"],
    "a negative chunk size": [head("POST", PRODUCE, CHUNKED, NDJSON), chunk(LINE) + b"-1\r\n"],
    "a chunk longer than its size": [head("POST", PRODUCE, CHUNKED, NDJSON), b"5\r\n" + LINE + b"\r\n0\r\n\r\n"],
    "strict": [head("POST", f"{PRODUCE}?strict=true", CHUNKED, NDJSON), chunk(LINE)],
    "async": [head("POST", f"{PRODUCE}?async=true", CHUNKED, NDJSON), chunk(LINE)],
    "one packet": [head("POST", PRODUCE, CHUNKED, NDJSON) + chunk(LINE)],
    "a body shorter than its Content-Length": [post(PRODUCE, b'{"records":[{"value":"cut short"}]}', length=99)],
    "NDJSON shorter than its Content-Length": [post(PRODUCE, LINE, NDJSON, length=99)],
    "the registry": [post("/registry/subjects/cut-value/versions", b'{"schema":"\\"string\\""}', length=99)],
    "a new topic": [post("/api/topics", b'{"name":"cut"}', length=99)],
    "a deletion": [head("DELETE", "/api/topics/demo", "Content-Length: 9") + b"cut"],
}


@pytest.mark.parametrize("pieces", CUT.values(), ids=CUT.keys())
@pytest.mark.parametrize("is_reset", [False, True], ids=["ended", "reset"])
def test_an_incomplete_body_is_never_processed(server: LiveServer, pieces: list[bytes], is_reset: bool) -> None:
    with Client(server.url) as client:
        client.send(*pieces)
        if is_reset:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            reply = NOTHING
        else:
            reply = client.end().reply()
    time.sleep(0.2)

    assert reply.status in (0, 400)
    if reply.body:
        assert b"body" in reply.body
    assert "cut short" not in written(server)
    assert requests.get(f"{server.url}/registry/subjects", timeout=10).json() == []
    assert requests.get(f"{server.url}/api/topics/cut", timeout=10).status_code == 404


def test_a_client_that_stops_sending_after_a_whole_request_is_answered(server: LiveServer) -> None:
    """`nc -N` and some proxies close their side at once; they used to get nothing, and sent it again."""
    for _ in range(20):
        with Client(server.url) as client:
            assert client.send(post(PRODUCE, BODY)).end().reply().status == 200
            assert client.is_closed()


def test_pipelined_requests_are_answered_in_order_and_before_the_connection_ends(server: LiveServer) -> None:
    paths = ["/api/health/live", "/api/topics", "/nowhere", "/api/topics/demo"]
    with Client(server.url) as client:
        client.send(b"".join(head("GET", path) for path in paths * 15)).end()
        statuses = [client.reply().status for _ in paths * 15]

        assert client.is_closed()
    assert statuses == [200, 200, 404, 200] * 15


def test_of_very_many_pipelined_requests_the_first_are_answered(server: LiveServer) -> None:
    with Client(server.url) as client:
        client.send(head("GET", "/api/topics") * 5000)
        replies = []
        while (reply := client.reply()).status:
            replies.append(reply)

    assert {reply.status for reply in replies} == {200}
    assert 64 <= len(replies) <= 66
    assert ["connection" in reply.fields for reply in replies] == [False] * (len(replies) - 1) + [True]


@pytest.mark.parametrize(("size", "status"), [(1, 400), (8, 400), (100, 200)])
def test_a_body_in_very_small_chunks_is_refused(server: LiveServer, size: int, status: int) -> None:
    whole = BODY[:-1] + b" " * 400_000 + b"}"
    chunks = b"".join(chunk(whole[start : start + size]) for start in range(0, len(whole), size))
    with Client(server.url) as client:
        reply = client.send(head("POST", PRODUCE, CHUNKED) + chunks + b"0\r\n\r\n").reply()

    assert reply.status == status
    if status == 400:
        assert reply.json()["code"] == "too_many_chunks"


@pytest.mark.parametrize("rest", [b"1;", b"0\r\nX: "], ids=["extension", "trailer"])
def test_what_is_beside_the_chunks_of_a_body_is_bounded(server: LiveServer, rest: bytes) -> None:
    """One endless trailer kept everybody else waiting for seconds: the parser copies what it has for each piece."""
    with Client(server.url) as client:
        client.send(head("POST", PRODUCE, CHUNKED) + chunk(BODY) + rest)
        for _ in range(32):
            client.send(b"a" * (MIB // 4))
        reply = client.reply()

    assert (reply.status, reply.json()["code"]) == (400, "too_many_chunks")


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH"])
def test_a_body_without_a_length_is_read(server: LiveServer, method: str) -> None:
    path, body, expected = {
        "PUT": ("/registry/config", b'{"compatibility":"FULL"}', 200),
        "POST": (PRODUCE, BODY, 200),
        "PATCH": ("/api/topics/demo", b'{"retentionMs":86400000}', 200),
    }[method]
    with Client(server.url) as client:
        client.send(head(method, path, CHUNKED), chunk(body[:7]), chunk(body[7:]) + b"0\r\n\r\n")

        assert client.reply().status == expected


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_an_offer_to_upgrade_is_ignored(server: LiveServer, framing: str) -> None:
    """Java's HttpClient offers h2c with each request that it may send over HTTP/2."""
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA")
    whole = post(PRODUCE, BODY, *offer) if framing == "length" else head("POST", PRODUCE, CHUNKED, *offer)
    rest = b"" if framing == "length" else chunk(BODY) + b"0\r\n\r\n"
    with Client(server.url) as client:
        first = client.send(whole + rest + LIVE).reply()
        second = client.reply()

    assert (first.status, second.status) == (200, 200)
    assert second.json() == {"alive": True}


OFFER = ("Connection: Upgrade", "Upgrade: h2c")


def test_what_follows_an_offer_to_upgrade_is_answered_whatever_it_is(server: LiveServer) -> None:
    """A bad head in the same packet used to end the connection without any answer."""
    bad = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"
    with Client(server.url) as client:
        client.send(head("GET", "/api/health/live", *OFFER) + bad)
        assert [client.reply().status for _ in range(3)] == [200, 400, 0]
    with Client(server.url) as client:
        client.send(head("GET", "/api/topics", *OFFER) * 100)
        assert [client.reply().status for _ in range(64)] == [200] * 64


def test_an_offer_to_upgrade_may_end_the_connection(server: LiveServer) -> None:
    with Client(server.url, timeout=5) as client:
        reply = client.send(head("GET", "/api/health/live", "Connection: close, Upgrade", "Upgrade: h2c")).reply()

        assert reply.fields["connection"] == "close"
        assert client.is_closed()


def test_a_client_that_expects_continue_is_told_before_it_sends(server: LiveServer) -> None:
    expect = "Expect: 100-continue"
    with Client(server.url) as client:
        client.send(head("POST", PRODUCE, expect, f"Content-Length: {len(BODY)}"))
        assert client.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert client.send(BODY).reply().status == 200
    for path, length, status in (("/api/topics/nowhere/produce", 9, 404), (PRODUCE, 99 * MIB, 413)):
        with Client(server.url) as client:
            client.send(head("POST", path, expect, f"Content-Length: {length}"))
            assert client.socket.recv(12) == f"HTTP/1.1 {status}".encode()


# What is wrong is said before a body is waited for.

EARLY = {
    "an unknown page": ("/nowhere", 404),
    "an unknown endpoint": ("/api/nowhere", 404),
    "an unknown topic": ("/api/topics/nowhere/produce", 404),
    "an unknown parameter": (f"{PRODUCE}?nonsense=1", 400),
    "a method": ("/api/health/live", 405),
}


@pytest.mark.parametrize(("path", "status"), EARLY.values(), ids=EARLY.keys())
@pytest.mark.parametrize("framing", [CHUNKED, "Content-Length: 1000"])
def test_what_would_be_refused_anyway_is_refused_before_the_body(
    server: LiveServer, path: str, status: int, framing: str
) -> None:
    with Client(server.url) as client:
        client.send(head("POST", path, framing), b"1")

        assert client.reply().status == status
        assert client.is_closed()


def test_a_key_is_checked_before_the_body(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_REQUIRE_API_KEY="true").start()
    key = server.manage("create_api_key", "reader", "--scopes", "read").split()[-1]
    statuses = []
    for fields in ([], ["Authorization: Bearer wrong"], [f"Authorization: Bearer {key}"]):
        with Client(server.url) as client:
            statuses.append(client.send(head("POST", PRODUCE, CHUNKED, *fields), b"1").reply().status)
    server.stop()

    assert statuses == [401, 401, 403]


# Each route has a limit, which holds before the body is read.


@pytest.mark.parametrize("path", [PRODUCE, "/api/topics", "/registry/subjects/big-value/versions", "/admin/login/"])
@pytest.mark.parametrize("framing", ["declared", "chunked", "whole"])
def test_every_route_bounds_its_body(server: LiveServer, path: str, framing: str) -> None:
    token = "a" * 32
    fields = (f"Cookie: csrftoken={token}", f"X-CSRFToken: {token}", "Content-Type: application/json")
    if path.startswith("/admin"):
        fields = (*fields[:2], "Content-Type: application/x-www-form-urlencoded")
    with Client(server.url) as client:
        if framing == "declared":
            client.send(head("POST", path, f"Content-Length: {300 * MIB}", *fields))
        elif framing == "chunked":
            client.send(head("POST", path, CHUNKED, *fields), chunk(b"a" * MIB) * 4, pause=0.1)
        else:
            client.send(post(path, b"a" * (4 * MIB), *fields))
        reply = client.reply()

    # Without a page of its own first, the admin refuses the form; what counts is that it was not read.
    assert reply.status == 413 or (path.startswith("/admin") and framing != "declared" and reply.status == 403)


@pytest.mark.parametrize("size", [4 * MIB, 50 * MIB])
def test_a_refused_upload_is_read_to_its_end_so_that_the_answer_arrives(server: LiveServer, size: int) -> None:
    """Python's clients send all of a body before they read: they saw a broken pipe in place of the 413."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", PRODUCE, b" " * size)
    answer = connection.getresponse()

    assert (answer.status, json.loads(answer.read())["code"]) == (413, "body_too_large")
    assert requests.post(server.url + PRODUCE, b" " * size, timeout=30).status_code == 413
    assert requests.post(server.url + PRODUCE, iter([b" " * MIB] * (size // MIB)), timeout=30).status_code == 413


def test_bodies_that_do_not_fit_together_are_refused_for_now(server: LiveServer) -> None:
    with ExitStack() as stack:
        for _ in range(2):
            client = stack.enter_context(Client(server.url))
            client.send(post(PRODUCE, b" " * (2 * MIB - 100_000), length=2 * MIB))
        time.sleep(0.5)
        with Client(server.url) as late:
            reply = late.send(post(PRODUCE, b" " * MIB, length=2 * MIB)).reply()
        small = requests.post(server.url + PRODUCE, BODY, timeout=10)
    time.sleep(0.5)

    assert reply.status == 503
    assert reply.json()["code"] == "overloaded"
    assert reply.json()["retriable"] is True
    assert reply.fields["retry-after"] == "1"
    assert small.status_code == 200
    assert requests.post(server.url + PRODUCE, b'{"records":[{"value":1}]' + b" " * 2 * MIB + b"}").status_code == 200


# Waiting for a client holds nothing that others need, and has an end.

WAITS = {
    "half a body": post(PRODUCE, BODY[:10], length=1000),
    "a chunk of a page that is not there": head("POST", "/nowhere", CHUNKED) + b"1\r\na\r\n",
    "half a login": post("/admin/login/", b"username=", length=1000),
    "half a head": b"POST /api/topics HTTP/1.1\r\nHost: local",
    "nothing": b"",
}


@pytest.mark.parametrize("start", WAITS.values(), ids=WAITS.keys())
def test_clients_that_send_half_a_request_keep_nobody_waiting(server: LiveServer, start: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(64):
            stack.enter_context(Client(server.url)).send(start)
        time.sleep(0.3)

        assert is_alive(server)
        assert requests.post(server.url + PRODUCE, BODY, timeout=2).status_code == 200


def test_a_body_that_does_not_come_is_answered_with_408(server: LiveServer) -> None:
    with Client(server.url) as client:
        reply = client.send(post(PRODUCE, BODY[:10], length=1000)).reply()

        assert client.is_closed()
    assert reply.status == 408
    assert reply.json()["code"] == "body_timeout"
    assert reply.json()["retriable"] is True
    assert reply.json()["instance"] == reply.fields["x-request-id"]


def test_a_trickle_does_not_extend_the_time_for_a_body(server: LiveServer) -> None:
    stop = threading.Event()
    with Client(server.url) as client, ThreadPoolExecutor(1) as pool:
        client.send(post(PRODUCE, BODY[:10], length=1000))

        def trickle() -> None:
            while not stop.wait(0.2):
                client.socket.sendall(b" ")

        trickling = pool.submit(trickle)
        reply = client.reply()
        stop.set()
        trickling.exception()

    assert reply.status == 408


def test_many_wait_for_their_status_without_a_thread(server: LiveServer) -> None:
    """The server has two threads, and one worker that is busy with nothing: 40 wait, others are answered."""
    request_id = requests.post(f"{server.url}{PRODUCE}?async=true", BODY, timeout=10).json()["requestId"]
    assert requests.get(f"{server.url}/api/produce/status/{request_id}?wait=20", timeout=30).json()["status"] == (
        "completed"
    )
    blocked = LiveServer(server.folder.parent / "blocked", TAKHIN_THREADS="2", TAKHIN_WORKERS="0").start()
    blocked.create_topic("demo")
    ids = [requests.post(f"{blocked.url}{PRODUCE}?async=true", BODY).json()["requestId"] for _ in range(40)]
    with ThreadPoolExecutor(40) as pool:
        waiting = [pool.submit(requests.get, f"{blocked.url}/api/produce/status/{one}?wait=30") for one in ids]
        time.sleep(1)
        assert is_alive(blocked)
        assert requests.post(blocked.url + PRODUCE, BODY, timeout=5).status_code == 200
        assert not any(one.done() for one in waiting)
        # A worker elsewhere ends them; this process notices.
        worker = LiveServer(blocked.folder, DATABASE_URL=blocked.environment["DATABASE_URL"]).start()
        statuses = {one.result().json()["status"] for one in waiting}
        worker.stop()
    blocked.stop()

    assert statuses == {"completed"}


def test_a_stop_answers_those_who_wait(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_WORKERS="0").start().create_topic("demo")
    request_id = server.produce("demo", [{"value": 1}], **{"async": "true"}).json()["requestId"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(requests.get, f"{server.url}/api/produce/status/{request_id}?wait=30", timeout=40)
        time.sleep(1)
        assert server.stop() == 0

    assert waiting.result().json()["status"] == "pending"


# A head that cannot be read is answered in JSON, and never reaches the application.

HEADS = {
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "two lengths": (head("POST", PRODUCE, "Content-Length: 3", "Content-Length: 4") + b"abcd", 400),
    "a length and chunks": (head("POST", PRODUCE, "Content-Length: 3", CHUNKED) + b"0\r\n\r\n", 400),
    "a negative length": (head("POST", PRODUCE, "Content-Length: -1"), 400),
    "a length that is no number": (head("POST", PRODUCE, "Content-Length: 1e3"), 400),
    "another coding": (head("POST", PRODUCE, "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", 501),
    "a folded field": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n", 400),
    "a NUL": (head("GET", "/", "X: a\0b"), 400),
    "a bare CR": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\rb: c\r\n\r\n", 400),
    "CONNECT": (b"CONNECT example.com:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "a target of another host": (b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "a long target": (head("GET", "/" + "a" * 70_000), 414),
    "a large field": (head("GET", "/", "X: " + "a" * 1_000_000), 431),
    "many fields": (head("GET", "/", *(f"X-{number}: 1" for number in range(150))), 431),
    "many fields of one name": (head("GET", "/", *["X: 1"] * 150), 431),
    "many fields that are left out": (head("GET", "/", *["X_: 1"] * 150), 431),
    "a later version": (b"GET / HTTP/2.0\r\n\r\n", 505),
    "chunks in HTTP/1.0": (f"POST {PRODUCE} HTTP/1.0\r\n{CHUNKED}\r\n\r\n".encode() + chunk(BODY) + b"0\r\n\r\n", 400),
}


@pytest.mark.parametrize(("sent", "status"), HEADS.values(), ids=HEADS.keys())
def test_a_head_that_cannot_be_read_is_answered_once(server: LiveServer, sent: bytes, status: int) -> None:
    with Client(server.url) as client:
        reply = client.send(sent + LIVE).reply()

        assert client.is_closed()
    assert reply.status == status
    assert reply.fields["content-type"] == "application/problem+json"
    assert reply.json()["status"] == status
    assert reply.json()["instance"] == reply.fields["x-request-id"]
    assert "Traceback" not in server.log.read_text()


def test_a_field_with_an_underscore_is_not_the_one_with_a_dash(server: LiveServer) -> None:
    """WSGI has one name for both, and a proxy that removes `X-Forwarded-Proto` lets `X_Forwarded_Proto` through."""
    with Client(server.url) as client:
        reply = client.send(head("GET", "/api/health/live", "X_Request_Id: mine")).reply()

    assert reply.fields["x-request-id"] != "mine"


def test_http_1_0_is_spoken_too(server: LiveServer) -> None:
    with Client(server.url) as client:
        reply = client.send(b"GET /api/health/live HTTP/1.0\r\n\r\n").reply()
        assert (reply.status, reply.fields["connection"]) == (200, "close")
        assert client.is_closed()
    with Client(server.url) as client:
        for _ in range(2):
            reply = client.send(b"GET /api/health/live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").reply()
            assert (reply.status, reply.fields["connection"]) == (200, "keep-alive")


def test_head_has_no_body(server: LiveServer) -> None:
    with Client(server.url) as client:
        first = client.send(head("HEAD", "/api/health/live") + LIVE).reply(has_body=False)
        second = client.reply()

    assert first.fields["content-length"] == "14"
    assert second.json() == {"alive": True}


# Connections


def test_the_client_that_was_idle_longest_makes_room(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_MAX_CONNECTIONS="8").start()
    with ExitStack() as stack:
        idle = [stack.enter_context(Client(server.url)) for _ in range(8)]
        assert [client.send(LIVE).reply().status for client in idle] == [200] * 8
        fresh = [stack.enter_context(Client(server.url)) for _ in range(4)]

        assert [client.send(LIVE).reply().status for client in fresh] == [200] * 4
        assert [client.is_closed() for client in idle[:4]] == [True] * 4
        assert [client.send(LIVE).reply().status for client in idle[4:]] == [200] * 4
    server.stop()


# The server alone, with an application of the test's own.


SLOW = head("GET", "/")


def slow(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Takes a while for a GET, and says why a request is refused."""
    if environ["REQUEST_METHOD"] == "GET":
        time.sleep(0.3)
    refusal = getattr(environ["wsgi.input"], "refusal", "")
    start_response("400 Bad Request" if refusal else "200 OK", [])
    return Parts([refusal.encode()])


@pytest.mark.parametrize("length", [20_000, 30_000], ids=["whole", "begun"])
def test_what_is_behind_a_refused_request_leaves_the_memory_for_bodies(length: int) -> None:
    """It used to count for ever, so that in the end every body was answered with 503."""
    refused = head("POST", "/", CHUNKED) + b"1\r\na\r\n" * 10_200 + b"0\r\n\r\n"
    with InsideServer(slow) as inside, Client(inside.url) as client:
        client.send(SLOW + refused + post("/", b"b" * 20_000, length=length))
        statuses = [client.reply().status for _ in range(3)]

        assert statuses == [200, 400, 0]
        assert inside.call(lambda: inside.server.memory.held_bytes) == 0


def test_what_is_behind_the_last_answer_of_a_stop_is_not_run() -> None:
    """It used to be run after its client was told that the connection ends, so that a record was written twice."""
    ran: list[str] = []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        ran.append(environ["PATH_INFO"])
        return slow(environ, start_response)

    with InsideServer(application) as inside, Client(inside.url) as client:
        client.send(SLOW + post("/behind", BODY) * 3)
        time.sleep(0.1)
        inside.call(inside.server.stop)
        reply = client.reply()

        assert (reply.status, reply.fields["connection"]) == (200, "close")
        assert client.is_closed()
        time.sleep(0.2)
    assert ran == ["/"]


def test_a_client_that_takes_all_but_the_end_of_its_response_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """It used to keep its connection for ever, once no more than its last response was left for it."""
    monkeypatch.setattr(limits, "SEND_SECONDS", 1.0)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Parts([b"a" * int(environ["PATH_INFO"][1:])])

    with InsideServer(application) as inside, Client(inside.url) as client:
        connection = with_small_buffers(inside, client)
        client.send(head("GET", "/60000") + head("GET", "/14000", "Connection: close"))
        time.sleep(0.1)
        while inside.call(lambda: connection.transport.get_write_buffer_size()) > 15_000:
            client.socket.recv(1024)
            time.sleep(0.001)
        # As the event loop does when little is left of much.
        inside.call(connection.resume_writing)
        time.sleep(2.5)

        assert not inside.server.connections
        assert not inside.server.memory._sending


def with_small_buffers(inside: InsideServer, client: Client) -> Connection:
    """The connection of this client, which holds few bytes outside the server."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    time.sleep(0.1)
    (connection,) = inside.call(lambda: list(inside.server.connections))
    connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return connection


def waiting(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Waits as long as the address says, once, for a request of that name, which never ends."""
    if environ["PATH_INFO"] != "/0" and environ["takhin.wait"] == "later":
        time.sleep(0.2)
        raise Waiting(environ["PATH_INFO"], float(environ["PATH_INFO"][1:]))
    return slow(environ, start_response)


def test_an_end_that_comes_as_the_time_runs_out_is_answered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both used to run the request again, and the second answer was sent for the request that came next."""
    # Others have taken the callback already, and call it now.
    monkeypatch.setattr(wakeups, "forget", lambda _, callback: callback())
    with InsideServer(waiting) as inside, Client(inside.url, timeout=2) as client:
        assert client.send(head("GET", "/0.1")).reply().status == 200
        with pytest.raises(TimeoutError):
            client.reply()


def test_a_stop_waits_for_nothing_more() -> None:
    """A request that began to wait only after the stop was cut off without an answer."""
    with InsideServer(waiting) as inside, Client(inside.url, timeout=5) as client:
        client.send(head("GET", "/60"))
        time.sleep(0.1)
        inside.call(inside.server.stop)

        assert client.reply().status == 200


def test_a_stop_answers_the_first_request_of_a_new_connection() -> None:
    """A client that has just connected must not see its connection end without a response."""
    with InsideServer(waiting) as inside, Client(inside.url, timeout=5) as new, Client(inside.url, timeout=5) as idle:
        idle.send(head("GET", "/0.1"))
        assert idle.reply().status == 200
        inside.call(inside.server.stop)

        reply = new.send(head("GET", "/0.1")).reply()
        assert (reply.status, reply.fields["connection"]) == (200, "close")
        assert idle.socket.recv(1) == b""


def test_a_client_that_leaves_is_waited_for_no_more() -> None:
    with InsideServer(waiting) as inside:
        for _ in range(8):
            with Client(inside.url) as client:
                client.send(head("GET", "/61"))
                time.sleep(0.3)
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        time.sleep(0.3)

        assert "/61" not in wakeups.waited_for()


class Panic(BaseException):
    """As libraries in Rust raise it."""


def test_a_panic_is_answered_and_leaves_the_threads_alone() -> None:
    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/panic":
            raise Panic
        return slow(environ, start_response)

    with InsideServer(application) as inside:
        for _ in range(settings.TAKHIN_THREADS + 1):
            with Client(inside.url, timeout=2) as client:
                assert client.send(head("GET", "/panic")).reply().status == 500
        with Client(inside.url, timeout=2) as client:
            assert client.send(SLOW).reply().status == 200
