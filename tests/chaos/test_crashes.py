"""A crash at any point, and at any moment, loses nothing that was acknowledged and duplicates nothing with a key."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.crashes import POINTS
from devservers.takhin import LiveServer
from tests.chaos.backends import Backend, Sqlite, open_backend
from tests.chaos.clients import Client, KeyedClient, WanderingClient, finish
from tests.chaos.history import History

pytestmark = [pytest.mark.no_database, pytest.mark.chaos, pytest.mark.usefixtures("no_server_left")]

# `make chaos` runs everything; without it, a sample that takes three minutes.
IS_FULL = os.environ.get("CHAOS") == "full"
BACKENDS = ["WAL", "TRUNCATE", "postgresql", "kafka"]
Scenario = Callable[[str, History], None]
KILLS = 50 if IS_FULL else 4
TWINS = 8
KEYS = 200 if IS_FULL else 20
TWIN_KILLS = 10 if IS_FULL else 2
RESTARTS = 15 if IS_FULL else 2
# What a log without sessions, or one outside the database, never comes to.
ELSEWHERE = {name: {point for point in POINTS if point.startswith("kafka.")} for name in BACKENDS}
ELSEWHERE["kafka"] = set()


def cells() -> Iterator[tuple[str, str, list[int]]]:
    """Every point and occurrence on every backend, or each point once, on one backend after the other."""
    for place, point in enumerate(POINTS):
        reaching = [name for name in BACKENDS if point not in ELSEWHERE[name]]
        if IS_FULL:
            yield from ((name, point, [1, 2, 3]) for name in reaching)
        else:
            yield reaching[place % len(reaching)], point, [1 + place % 3]


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


@pytest.mark.parametrize(("name", "point", "numbers"), list(cells()))
def test_a_crash_at_a_point(
    backends: dict[str, Backend], tmp_path: Path, scenario: Scenario, name: str, point: str, numbers: list[int]
) -> None:
    """A server crashes at an occurrence of a point. It is started again, and crashes at the next one."""
    backend = backends[name]
    purge = {"TAKHIN_REQUEST_TTL": "1s", "TAKHIN_HOUSEKEEPING_INTERVAL": "1s"} if point.startswith("purge") else {}
    server = backend.server(tmp_path / "data", **purge).start()
    backend.create_topics(server)
    server.stop()
    history = History()
    client = Client(server.url, "c", history, 0.1 if purge else 0.005)
    client.start()
    for number in numbers:
        server.environment["TAKHIN_CRASH_AT"] = f"{point}:{number}"
        server.log.unlink()
        # Some points are reached before the server is ready.
        server.launch()
        wait_for_crash(server)
        server.kill()
        backend.expire_leases(server)
    del server.environment["TAKHIN_CRASH_AT"]
    server.start()
    finish([client], server)

    stored = backend.read(server)
    server.stop()
    assert client.unexpected == []
    history.check(stored, is_gapless=backend.is_gapless)
    scenario(f"{name}, crashes at {point}:{','.join(map(str, numbers))}", history)


def wait_for_crash(server: LiveServer) -> None:
    """The log tells of the first one, unless it was that of the supervisor. Later ones may have followed."""
    deadline = time.monotonic() + 60
    while server.is_running and '"reason":"signal SIGKILL"' not in server.log.read_text():
        assert time.monotonic() < deadline, "the server does not crash"
        time.sleep(0.02)


@pytest.mark.parametrize("name", BACKENDS)
def test_kill_9_at_any_moment(backends: dict[str, Backend], tmp_path: Path, scenario: Scenario, name: str) -> None:
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
    scenario(f"{name}, {KILLS} kills", history)


@pytest.mark.parametrize("name", BACKENDS)
def test_twins_write_once(backends: dict[str, Backend], tmp_path: Path, scenario: Scenario, name: str) -> None:
    """Eight clients send the same requests at the same time, while the server is killed."""
    backend = backends[name]
    server = backend.server(tmp_path / "data").start()
    backend.create_topics(server)
    histories = [History() for _ in range(TWINS)]
    clients = [KeyedClient(server.url, "twin", history, KEYS) for history in histories]
    for client in clients:
        client.start()
    chance = random.Random(4)
    for _ in range(TWIN_KILLS):
        threading.Event().wait(chance.uniform(0.2, 1.0))
        server.kill()
        backend.expire_leases(server)
        server.start()
    for client in clients:
        client.join(180)
        assert not client.is_alive()
    stored = backend.read(server)
    server.stop()

    assert [client.unexpected for client in clients] == [[]] * TWINS
    for history in histories:
        assert len(history.operations) == KEYS
        history.check(stored, is_gapless=backend.is_gapless)
    for twins in zip(*(history.operations for history in histories), strict=True):
        assert len({str(twin.offsets) for twin in twins}) == 1, twins
    scenario(f"{name}, {TWINS} twins, {TWIN_KILLS} kills, {len(stored)} records", histories[0])


def test_rolling_restarts_fail_no_request(tmp_path: Path, scenario: Scenario) -> None:
    """Two servers on one database. A client that is refused a connection goes to the other one."""
    one = LiveServer(tmp_path / "data", DATABASE_URL="", TAKHIN_WORKERS="1").start()
    Sqlite("WAL").create_topics(one)
    two = LiveServer(tmp_path / "data", DATABASE_URL="", TAKHIN_WORKERS="1")
    two.log = two.folder / "two.log"
    two.start()
    history = History()
    clients = [WanderingClient([one.url, two.url], f"w{number}", history) for number in range(4)]
    for client in clients:
        client.start()
    for _ in range(RESTARTS):
        for server in (one, two):
            assert server.terminate() == 0
            server.start()
    finish(clients, one)
    stored = Sqlite("WAL").read(one)
    for server in (one, two):
        server.stop()

    assert [client.unexpected for client in clients] == [[]] * 4
    assert [client.broken for client in clients] == [[]] * 4
    history.check(stored, is_gapless=True)
    scenario(f"WAL, {2 * RESTARTS} restarts", history)


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
