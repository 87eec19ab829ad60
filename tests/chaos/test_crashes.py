"""A crash at any point, and at any moment, loses nothing that was acknowledged and duplicates nothing with a key."""

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.crashes import POINTS
from devservers.takhin import LiveServer
from tests.chaos.backends import Backend, open_backend
from tests.chaos.clients import Client, finish
from tests.chaos.history import History

pytestmark = [pytest.mark.no_database, pytest.mark.chaos]

# `make chaos` runs everything; without it, a sample that takes three minutes.
IS_FULL = os.environ.get("CHAOS") == "full"
BACKENDS = ["WAL", "TRUNCATE", "postgresql", "kafka"]
KILLS = 50 if IS_FULL else 4
# What a log without sessions, or one outside the database, never comes to.
ELSEWHERE = {name: {point for point in POINTS if point.startswith("kafka.")} for name in BACKENDS}
ELSEWHERE["kafka"] = set()


def cells() -> Iterator[tuple[str, str, int]]:
    """Every point and occurrence on every backend, or each point once, on one backend after the other."""
    for place, point in enumerate(POINTS):
        reaching = [name for name in BACKENDS if point not in ELSEWHERE[name]]
        if IS_FULL:
            yield from ((name, point, number) for name in reaching for number in (1, 2, 3))
        else:
            yield reaching[place % len(reaching)], point, 1 + place % 3


@pytest.fixture(scope="module")
def backends(request: pytest.FixtureRequest) -> Iterator[dict[str, Backend]]:
    opened: dict[str, Backend] = {}
    with (
        open_backend("WAL", None) as opened["WAL"],
        open_backend("TRUNCATE", None) as opened["TRUNCATE"],
        open_backend("postgresql", None) as opened["postgresql"],
        open_backend("kafka", request.getfixturevalue("kafka")) as opened["kafka"],
    ):
        yield opened


@pytest.mark.parametrize(("name", "point", "number"), list(cells()))
def test_a_crash_at_a_point(backends: dict[str, Backend], tmp_path: Path, name: str, point: str, number: int) -> None:
    backend = backends[name]
    purge = {"TAKHIN_REQUEST_TTL": "1s", "TAKHIN_HOUSEKEEPING_INTERVAL": "1s"} if point.startswith("purge") else {}
    server = backend.server(tmp_path / "data", **purge).start()
    backend.create_topics(server)
    server.stop()
    server.environment["TAKHIN_CRASH_AT"] = f"{point}:{number}"
    server.start()
    history = History()
    client = Client(server.url, "c", history, 0.1 if purge else 0.005)
    client.start()
    wait_for_crash(server)
    del server.environment["TAKHIN_CRASH_AT"]
    server.kill()
    backend.expire_leases(server)
    server.start()
    finish([client], server)

    stored = backend.read(server)
    server.stop()
    assert client.unexpected == []
    history.check(stored, is_gapless=backend.is_gapless)
    print(f"{name} {point}:{number}", dict(history.counts))


def wait_for_crash(server: LiveServer) -> None:
    """The log tells of the first one. A server that was restarted since may have crashed again."""
    deadline = time.monotonic() + 60
    while '"reason":"signal SIGKILL"' not in server.log.read_text():
        assert time.monotonic() < deadline, "the server does not crash"
        time.sleep(0.02)


@pytest.mark.parametrize("name", BACKENDS)
def test_kill_9_at_any_moment(backends: dict[str, Backend], tmp_path: Path, name: str) -> None:
    backend = backends[name]
    server = backend.server(tmp_path / "data").start()
    backend.create_topics(server)
    history = History()
    clients = [Client(server.url, f"c{number}", history) for number in range(4)]
    for client in clients:
        client.start()
    chance = random.Random(12)
    for _ in range(KILLS):
        threading.Event().wait(chance.uniform(0.1, 1.0))
        server.kill()
        backend.expire_leases(server)
        server.start()
    finish(clients, server)

    stored = backend.read(server)
    server.stop()
    assert [client.unexpected for client in clients] == [[]] * len(clients)
    history.check(stored, is_gapless=backend.is_gapless)
    assert sum(client.statuses[0] for client in clients) >= KILLS
    print(f"{name} {KILLS} kills", dict(history.counts))


def test_the_history_notices_what_is_wrong() -> None:
    """A checker that never fails would show nothing."""
    client = Client("http://127.0.0.1:1", "x", History())
    told = client.history
    operation = told.add(client.send(0))
    assert operation.outcome == "unknown"
    place = {"partition": 0, "offset": 0}
    (left, value), (right, other) = operation.values
    for stored in (
        # Half of an atomic request, a duplicate, and a record of nobody.
        {(left, 0, 0): value},
        {(left, 0, 0): value, (left, 0, 1): value, (right, 0, 0): other, (right, 0, 1): other},
        {(left, 0, 0): "of nobody"},
        # A gap.
        {(left, 0, 0): value, (right, 0, 1): other},
    ):
        with pytest.raises(AssertionError):
            told.check(stored, is_gapless=True)
    told.check({(left, 0, 0): value, (right, 0, 0): other}, is_gapless=True)
    operation.offsets = [place, place]
    for stored in ({}, {(left, 0, 0): other, (right, 0, 0): value}):
        with pytest.raises(AssertionError):
            told.check(stored, is_gapless=True)
    told.check({(left, 0, 0): value, (right, 0, 0): other}, is_gapless=True)
