"""Overload, a full disk, a clock that is set back, and purging during all of it lose nothing and duplicate nothing."""

import json
import os
import resource
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import requests

from devservers.takhin import LiveServer
from tests.chaos.backends import Sqlite
from tests.chaos.clients import TOPICS, Client, GreedyClient, SlowClient, finish
from tests.chaos.history import History, Operation
from tests.chaos.test_fuzz import usage

pytestmark = [pytest.mark.no_database, pytest.mark.chaos, pytest.mark.usefixtures("no_server_left")]
IS_FULL = os.environ.get("CHAOS") == "full"
OVERLOAD_SECONDS = 60.0 if IS_FULL else 3.0
PURGE_SECONDS = 60.0 if IS_FULL else 3.0
DEAD_WORKERS = 20 if IS_FULL else 2
CLOCK_CHANGES = 300 if IS_FULL else 20
FULL_DISKS = 30 if IS_FULL else 2
JOURNALS = ["WAL", "TRUNCATE"] if IS_FULL else ["WAL"]
MIB = 1024 * 1024
Scenario = Callable[[str, History], None]


def run(clients: list[Client], seconds: float = 0) -> None:
    for client in clients:
        client.start()
    time.sleep(seconds)


def check(server: LiveServer, clients: list[Client], history: History) -> None:
    """Let the clients finish, and compare what they were told with what is stored."""
    finish(clients, server)
    stored = Sqlite("WAL").read(server)
    assert [client.unexpected for client in clients] == [[]] * len(clients)
    history.check(stored, is_gapless=True)


def change(server: LiveServer, *statements: str) -> None:
    with closing(sqlite3.connect(server.folder / "takhin.sqlite3", timeout=30)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def count(server: LiveServer, table: str) -> int:
    with closing(sqlite3.connect(server.folder / "takhin.sqlite3", timeout=30)) as connection:
        found: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return found


def test_overload_rejects_what_is_too_much_and_nothing_else(tmp_path: Path, scenario: Scenario) -> None:
    """Small and large bodies, from many more clients than the server has room for."""
    room = {"TAKHIN_MAX_IN_FLIGHT": "6", "TAKHIN_MAX_BUFFERED_BYTES": str(24 * MIB)}
    server = Sqlite("WAL").server(tmp_path / "data", **room).start()
    Sqlite("WAL").create_topics(server)
    history = History()
    sizes = [0] * 12 + [MIB] * 6 + [9 * MIB] * 6
    clients = [GreedyClient(server.url, f"g{number}", history, size) for number, size in enumerate(sizes)]
    run([*clients], OVERLOAD_SECONDS / 3)
    before, _ = usage(server.process_ids()[1])
    time.sleep(OVERLOAD_SECONDS * 2 / 3)
    after, _ = usage(server.process_ids()[1])
    check(server, [*clients], history)
    calm = [server.produce(TOPICS[0], [{"value": 1}]).status_code for _ in range(50)]
    server.stop()

    # No connection was lost, and each size had its share of both.
    assert {status for client in clients for status in client.statuses} == {200, 503}
    for size in set(sizes):
        statuses = [client.statuses for client in clients if client.size == size]
        assert sum(one[200] for one in statuses) > 0
        assert sum(one[503] for one in statuses) > 0
    assert calm == [200] * 50
    # The bodies that the limit allows take up to six times their size while their records are written.
    assert after < before + 6 * 24
    scenario(f"WAL, overload, {before:.0f} then {after:.0f} MiB", history)


@pytest.mark.parametrize("journal", JOURNALS)
def test_a_disk_that_is_full_again_and_again(tmp_path: Path, scenario: Scenario, journal: str) -> None:
    server = Sqlite(journal).server(tmp_path / "data").start()
    Sqlite(journal).create_topics(server)
    history = History()
    clients = [Client(server.url, f"c{number}", history) for number in range(4)]
    run(clients)
    for _ in range(FULL_DISKS):
        time.sleep(0.4)
        limit_files(server, 1)
        time.sleep(0.4)
        limit_files(server, resource.RLIM_INFINITY)
    check(server, clients, history)
    server.stop()

    for client in clients:
        assert client.statuses[503] > 0
        assert set(client.statuses) == {200, 202, 503}
    scenario(f"{journal}, {FULL_DISKS} full disks", history)


def limit_files(server: LiveServer, size: int) -> None:
    """Have every write beyond this size of a file fail, as on a full disk."""
    for pid in server.process_ids():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


# Whatever is stored is an hour ahead of a clock that was set back by one.
SET_BACK = (
    "UPDATE producer_producerequest SET created_at = datetime(created_at, '+1 hour'), "
    "lease_until = strftime('%Y-%m-%d %H:%M:%f', lease_until, '+1 hour'), "
    "completed_at = datetime(completed_at, '+1 hour')",
    "UPDATE producer_workerslot SET lease_until = strftime('%Y-%m-%d %H:%M:%f', lease_until, '+1 hour')",
    "UPDATE producer_idempotencykey SET created_at = datetime(created_at, '+1 hour')",
)


@pytest.mark.parametrize("journal", JOURNALS)
def test_a_clock_that_is_set_back(tmp_path: Path, scenario: Scenario, journal: str) -> None:
    """The claims of workers that have died would last for another hour. A worker may at once claim what another one is
    about to write.
    """
    server = Sqlite(journal).server(tmp_path / "data", TAKHIN_WORKERS="0").start()
    Sqlite(journal).create_topics(server)
    history = History()
    clients = [Client(server.url, f"c{number}", history, 0.02) for number in range(3)]
    run(clients)
    for _ in range(DEAD_WORKERS):
        assert server.launch_worker(TAKHIN_CRASH_AT="claim.after:2").wait(60) != 0
        change(server, *SET_BACK)
    workers = [server.launch_worker() for _ in range(2)]
    for _ in range(CLOCK_CHANGES):
        time.sleep(0.1)
        change(server, *SET_BACK)
    check(server, clients, history)
    for worker in workers:
        worker.terminate()
        worker.wait(30)
    server.stop()

    scenario(f"{journal}, clock set back {DEAD_WORKERS + CLOCK_CHANGES} times, {DEAD_WORKERS} dead workers", history)


AGE_KEYS = "UPDATE producer_idempotencykey SET created_at = datetime(created_at, '-2 hours')"


@pytest.mark.parametrize("journal", JOURNALS)
def test_purging_while_slow_requests_are_under_way(tmp_path: Path, scenario: Scenario, journal: str) -> None:
    """Bodies take longer to arrive than finished requests are kept. Keys expire while their requests are pending."""
    short = {"TAKHIN_REQUEST_TTL": "1s", "TAKHIN_HOUSEKEEPING_INTERVAL": "1s", "TAKHIN_IDEMPOTENCY_TTL": "1h"}
    server = Sqlite(journal).server(tmp_path / "data", TAKHIN_WORKERS="0", **short).start()
    Sqlite(journal).create_topics(server)
    worker = server.launch_worker()
    history = History()
    clients = [Client(server.url, f"c{number}", history, 0.02) for number in range(3)]
    clients += [SlowClient(server.url, f"s{number}", history) for number in range(8)]
    run(clients, PURGE_SECONDS)
    check(server, clients, history)
    assert count(server, "producer_producerequest") < len(history.operations) / 2
    worker.terminate()
    worker.wait(30)

    # Nobody writes what is accepted now.
    first = [accept(server, f"pending-{number}") for number in range(20)]
    change(server, AGE_KEYS)
    deadline = time.monotonic() + 30
    # Those of finished requests go.
    while count(server, "producer_idempotencykey") > len(first):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert [accept(server, f"pending-{number}") for number in range(20)] == first
    for number, request_id in enumerate(first):
        value = f"pending-{number}"
        history.add(Operation([(TOPICS[0], value)], value, request_id=request_id))
    worker = server.launch_worker()
    check(server, clients, history)
    worker.terminate()
    worker.wait(30)
    server.stop()
    scenario(f"{journal}, purge", history)


def accept(server: LiveServer, value: str) -> str:
    answer = requests.post(
        f"{server.url}/api/topics/{TOPICS[0]}/produce?async=true&value.format=string",
        json.dumps({"records": [{"value": value}]}),
        headers={"Idempotency-Key": value},
        timeout=30,
    )
    assert answer.status_code == 202, answer.text
    found: str = answer.json()["requestId"]
    return found
