"""Short requests share one thread, which nobody may hold up: not a lock, not a schema, not a large body."""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from devservers.takhin import LiveServer

pytestmark = pytest.mark.no_database
CLIENTS = 16


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path / "data").start()
    for name in ("orders", "payments"):
        server.create_topic(name)
    yield server
    server.kill()


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def test_requests_of_every_kind_share_it(server: LiveServer) -> None:
    """Each gets its own response: good and bad ones, of formats that leave the lane, accepted ones, and large ones."""
    schema = {"keySchema": '"string"'}

    def post(body: Any, query: str = "", **headers: str) -> tuple[int, Any]:
        url = f"{server.url}/api/topics/orders/produce{query}"
        answer = requests.post(url, json=body, headers=headers, timeout=30)
        return answer.status_code, answer.json()

    kinds: list[tuple[Callable[[], tuple[int, Any]], int]] = [
        (lambda: post({"records": [{"key": "a", "value": 1}]}), 200),
        (lambda: post({"records": [{"partition": 99}]}), 422),
        (lambda: post({"records": []}), 400),
        (lambda: post({"records": [{"key": "a"}], **schema}, "?key.format=avro"), 200),
        (lambda: post({"records": [{"value": 2}]}, "?async=true"), 202),
        (lambda: post({"records": [{"value": "x" * 1000}] * 1000}), 200),
        (lambda: post({"records": [{"value": 1}]}, "?strict=maybe"), 400),
    ]
    for _ in range(10):
        answers = at_once([call for call, _ in kinds for _ in range(3)])
        assert [status for status, _ in answers] == [expected for _, expected in kinds for _ in range(3)]

    # Offsets are given once, whichever way a record came.
    by_partition = [server.read("orders", number) for number in range(3)]
    for records in by_partition:
        assert [record["offset"] for record in records] == list(range(len(records)))
    assert sum(map(len, by_partition)) >= 10 * 3 * (1 + 1 + 1000)


@pytest.mark.sqlite
def test_a_lock_holds_up_no_request_that_does_not_need_it(server: LiveServer) -> None:
    with contextlib.closing(sqlite3.connect(server.folder / "takhin.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ended = threading.Event()
        waiting = threading.Thread(target=lambda: (server.produce("orders", [{"value": 1}]), ended.set()))
        waiting.start()
        # All of these go the way that the waiting one has gone.
        url = f"{server.url}/api/topics/orders/produce"
        for _ in range(3):
            statuses = at_once([lambda: requests.post(url, b"{", timeout=5).status_code for _ in range(CLIENTS)])
            assert set(statuses) == {400}
        assert not ended.is_set()
        other.execute("ROLLBACK")
        assert ended.wait(10)
        waiting.join()


@pytest.mark.postgres
def test_a_locked_partition_holds_up_its_own_requests_alone(server: LiveServer) -> None:
    with psycopg.connect(server.environment["DATABASE_URL"]) as other:
        other.execute(
            "SELECT 1 FROM topics_partition AS p JOIN topics_topic AS t ON t.id = p.topic_id "
            "WHERE t.name = 'orders' FOR UPDATE"
        )
        with ThreadPoolExecutor(4) as pool:
            locked = [pool.submit(server.produce, "orders", [{"value": 1}], timeout="3000") for _ in range(4)]
            for _ in range(20):
                assert server.produce("payments", [{"value": 1}]).status_code == 200
            assert [future.result().status_code for future in locked] == [503] * 4
        other.rollback()

    assert server.produce("orders", [{"value": 1}]).status_code == 200
    assert sum(len(server.read("orders", number)) for number in range(3)) == 1


@pytest.mark.sqlite
def test_without_the_wheel_it_uses_the_journal_that_is_safe(tmp_path: Path) -> None:
    """Where there is no wheel of pysqlite3, Python's own SQLite decides."""
    (tmp_path / "pysqlite3").mkdir()
    (tmp_path / "pysqlite3" / "__init__.py").write_text("raise ImportError('there is no wheel')\n")
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    server = LiveServer(tmp_path / "data", PYTHONPATH=paths)

    is_safe = sqlite3_of_python() >= (3, 51, 3)
    expected = "WAL" if is_safe else "TRUNCATE"
    version = ".".join(map(str, sqlite3_of_python()))
    assert f"The database is SQLite {version} in journal mode {expected}." in checked(server)
    if not is_safe:
        server.environment["TAKHIN_SQLITE_JOURNAL"] = "WAL"
        with pytest.raises(AssertionError, match="TAKHIN_SQLITE_JOURNAL must be TRUNCATE"):
            server.manage("check")


def sqlite3_of_python() -> tuple[int, ...]:
    import _sqlite3

    return tuple(map(int, _sqlite3.sqlite_version.split(".")))


def checked(server: LiveServer) -> str:
    import subprocess

    server.folder.mkdir(parents=True, exist_ok=True)
    command = server.command("check", "--database", "default")
    done = subprocess.run(command, cwd=server.root, env=server.environment, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr
