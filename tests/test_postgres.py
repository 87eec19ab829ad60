"""What PostgreSQL alone must show: many writers at once, and a database that goes away and comes back."""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from django.db import connection, connections
from django.db.models import Sum
from django.db.models.functions import Now
from psycopg_pool import PoolTimeout

from core.database import checks, statements, transactions
from core.database.engines.postgresql.base import DatabaseWrapper
from core.errors import StorageDamaged, StorageFull, StorageReadOnly
from devservers.postgres import PostgresServer, create_database
from devservers.takhin import LiveServer
from producer.models import ProduceRequest
from producer.queue import housekeeping
from tests.chaos.backends import Postgres
from tests.chaos.clients import Client, finish
from tests.chaos.history import History
from tests.conftest import Api
from tests.test_configuration import manage, refusal
from tests.test_metrics import seen
from tests.test_purge import make_older
from topics.log.embedded.log import EmbeddedLog
from topics.log.errors import TopicNotFound
from topics.log.records import Record, TopicConfig, Write
from topics.models import Partition, RecordBatch

pytestmark = pytest.mark.postgres

THREADS = 32
APPENDS = 20
PARTITIONS = 6
# A short one is waited for, a long one is told.
OUTAGES = (0, 0.5, 1, 7)


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What `work` returns in each of so many threads, all started at the same moment."""
    ready = threading.Barrier(count)

    def one(number: int) -> Any:
        ready.wait()
        try:
            return work(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def writes_to(partitions: list[int], value: bytes) -> list[Write]:
    return [Write("orders", partition, [Record(None, value, 0)]) for partition in partitions]


def test_it_works(api: Api, topic: str) -> None:
    assert api.produce(topic, [{"value": 1}]).status_code == 200
    assert connection.vendor == "postgresql"
    assert connection.settings_dict["OPTIONS"]["pool"]["max_size"] == 21
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout'), current_setting('default_transaction_isolation')")
        assert cursor.fetchone() == ("10s", "read committed")


# Many writers


def test_32_threads_on_overlapping_partitions_never_deadlock() -> None:
    log = EmbeddedLog()
    log.create_topic("orders", PARTITIONS)

    def append(writer: int) -> list[tuple[int, int, bytes]]:
        chance = random.Random(writer)
        acknowledged = []
        for number in range(APPENDS):
            value = b"%d-%d" % (writer, number)
            writes = writes_to(chance.sample(range(PARTITIONS), chance.randint(2, PARTITIONS)), value)
            for write, results in zip(writes, log.append(writes), strict=True):
                acknowledged += [(write.partition, metadata.offset, value) for metadata in results]
            # There are fewer connections than threads here.
            connections.close_all()
        return acknowledged

    acknowledged = [entry for entries in at_once(THREADS, append) for entry in entries]

    stored = [
        (number, record.offset, record.value)
        for number in range(PARTITIONS)
        for record in log.read("orders", number, 0, THREADS * APPENDS)
    ]
    assert sorted(stored) == sorted(acknowledged)
    for number in range(PARTITIONS):
        offsets = [offset for partition, offset, _ in stored if partition == number]
        assert offsets == list(range(len(offsets)))


def test_a_topic_deleted_under_load_deadlocks_with_nobody() -> None:
    log = EmbeddedLog()
    for _ in range(5):
        log.create_topic("orders", PARTITIONS)
        is_under_load = threading.Event()

        def work(number: int, is_under_load: threading.Event = is_under_load) -> None:
            if number == 0:
                is_under_load.wait(10)
                log.delete_topic("orders")
                return
            for count in range(1000):
                try:
                    log.append(writes_to(random.sample(range(PARTITIONS), PARTITIONS), b""))
                except TopicNotFound:
                    return
                if count == 10:
                    is_under_load.set()
            raise AssertionError("the topic is still there")

        at_once(8, work)
        assert not Partition.objects.exists()


def test_claims_skip_what_others_have(api: Api, topic: str) -> None:
    made = {api.produce(topic, [{}], async_="true").json()["requestId"] for _ in range(200)}

    def claim(number: int) -> list[str]:
        mine: list[str] = []
        while claimed := transactions.commit(lambda: ProduceRequest.objects.claim(7)):
            mine += [row.pk for row in claimed]
        return mine

    claims = Counter(pk for mine in at_once(8, claim) for pk in mine)

    assert claims == Counter(made)


def test_a_claim_waits_for_no_other(api: Api, topic: str) -> None:
    for _ in range(2):
        api.produce(topic, [{}], async_="true")
    is_held, may_end = threading.Event(), threading.Event()

    def claim_slowly() -> list[str]:
        rows = ProduceRequest.objects.claim(1)
        is_held.set()
        may_end.wait(10)
        return [row.pk for row in rows]

    def work(number: int) -> list[str]:
        if number == 0:
            return transactions.commit(claim_slowly)
        is_held.wait(10)
        try:
            return transactions.commit(lambda: [row.pk for row in ProduceRequest.objects.claim(5)])
        finally:
            may_end.set()

    slow, fast = at_once(2, work)

    assert len(slow) == len(fast) == 1
    assert slow != fast


def test_several_processes_may_keep_house(api: Api) -> None:
    """Two at the same batches took their bytes off the partition twice."""
    log = EmbeddedLog()
    log.create_topic("orders", 2, TopicConfig(retention_bytes=2000))
    for number in range(300):
        log.append(writes_to([number % 2], b"x" * 100))
    ids = [api.produce("orders", [{}]) and ProduceRequest.objects.first() for _ in range(50)]
    for row in ids:
        assert row is not None
        make_older(row.pk, timedelta(hours=2), completed_at=Now() - timedelta(hours=1))

    def keep_house(number: int) -> tuple[int, int]:
        return log.enforce_retention(0), housekeeping.purge(timedelta(minutes=30), timedelta(days=7))

    expired, purged = zip(*at_once(6, keep_house), strict=True)

    assert sum(purged) == 50
    for partition in Partition.objects.all():
        kept = RecordBatch.objects.filter(partition=partition)
        assert partition.stored_bytes == (kept.aggregate(size=Sum("stored_bytes"))["size"])
        assert 2000 <= partition.stored_bytes < 2400
        assert kept.order_by("base_offset").values_list("base_offset", flat=True)[0] == partition.first_offset
    assert sum(expired) == sum(Partition.objects.values_list("first_offset", flat=True))


# Trouble


def test_a_pool_that_is_empty_is_503_and_not_a_hang(api: Api, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatabaseWrapper, "wait_seconds", 0.5)
    pool = connection.pool  # type: ignore[attr-defined]
    connection.close()
    pool.timeout, before = 0.5, pool.timeout
    held: list[Any] = []
    try:
        # A thread of an earlier test may have ended with one.
        with contextlib.suppress(PoolTimeout):
            while True:
                held.append(pool.getconn())
        started = time.monotonic()
        answer = api.produce(topic, [{}])
        assert time.monotonic() - started < 5
        assert (answer.status_code, answer["Retry-After"]) == (503, "1")
        # A check may take two seconds before it is thought to fail.
        deadline = time.monotonic() + 10
        while api.get("/api/health/ready").status_code != 503:
            assert time.monotonic() < deadline
    finally:
        pool.timeout = before
        for one in held:
            pool.putconn(one)

    assert api.produce(topic, [{}]).status_code == 200


def test_a_connection_lost_in_a_commit_leaves_the_outcome_unknown(
    api: Api, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = statements.flush

    def flush_and_lose_connection() -> None:
        flush()
        pid = connection.connection.info.backend_pid
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    monkeypatch.setattr(statements, "flush", flush_and_lose_connection)
    answer = api.produce(topic, [{}])
    monkeypatch.undo()

    assert answer.status_code == 504
    assert [(failure["code"], failure["retriable"]) for failure in answer.json()["offsets"]] == [
        ("outcome_unknown", False)
    ]
    assert api.produce(topic, [{}]).status_code == 200


@pytest.mark.parametrize(
    ("code", "error"),
    [("disk_full", StorageFull), ("data_corrupted", StorageDamaged), ("index_corrupted", StorageDamaged)],
)
def test_what_is_wrong_with_the_storage_is_told(code: str, error: type[Exception]) -> None:
    def fail() -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$")

    with pytest.raises(error):
        transactions.commit(fail)


def test_a_database_that_is_read_only_is_told(api: Api, topic: str) -> None:
    def write() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
        Partition.objects.update(next_offset=1)

    with pytest.raises(StorageReadOnly):
        transactions.commit(write)
    assert api.produce(topic, [{}]).status_code == 200


@pytest.mark.no_database
@pytest.mark.parametrize("command", ["serve", "run_produce_worker"])
def test_a_read_only_database_is_refused_at_start(tmp_path: Path, command: str) -> None:
    url = f"{os.environ['DATABASE_URL']}?options=-c%20default_transaction_read_only%3Don"

    line = refusal(manage(tmp_path, command, DATABASE_URL=url))

    assert line == "CommandError: The log cannot be written: the database is read-only."


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A server of the test's own, to be crashed."""
    with PostgresServer() as server:
        yield server


def stop_all(postgres: PostgresServer, number: int) -> None:
    """Stop or continue all of its processes, as a machine that hangs would."""
    main = int((postgres.folder / "data" / "postmaster.pid").read_text().split()[0])
    for pid in (*Path(f"/proc/{main}/task/{main}/children").read_text().split(), main):
        os.kill(int(pid), number)


@pytest.mark.no_database
@pytest.mark.parametrize("how", ["down", "frozen"])
def test_an_outage_is_refused_at_once_and_its_end_is_noticed(
    postgres: PostgresServer, tmp_path: Path, how: str
) -> None:
    """Forty clients waited ten to fifteen seconds each for their 503, and so did the probes."""
    server = LiveServer(tmp_path / "data", DATABASE_URL=create_database(postgres.url(), "takhin")).start()
    server.create_topic("orders")
    assert server.produce("orders", [{}]).status_code == 200
    addresses = ("/api/topics", "/api/topics/orders/messages", "/registry/subjects", "/api/produce/status/req_1")

    def ask(number: int) -> int:
        if number % 5 == 4:
            return server.produce("orders", [{}]).status_code
        return requests.get(server.url + addresses[number % 5], timeout=60).status_code

    def ask_all() -> set[int]:
        with ThreadPoolExecutor(40) as clients:
            return set(clients.map(ask, range(40)))

    end = postgres.crash if how == "down" else lambda: stop_all(postgres, signal.SIGSTOP)
    begin = postgres.start if how == "down" else lambda: stop_all(postgres, signal.SIGCONT)
    end()
    try:
        assert ask_all() <= {503, 504}
        time.sleep(3)
        started = time.monotonic()
        # Of these, each round took ten seconds and more.
        for _ in range(5):
            assert ask_all() == {503}
        assert time.monotonic() - started < 10
        started = time.monotonic()
        ready = requests.get(f"{server.url}/api/health/ready", timeout=60)
        assert (ready.status_code, ready.json()["failing"]) == (503, ["database", "log"])
        assert "does not answer" in ready.json()["reasons"]["database"]
        assert requests.get(f"{server.url}/api/health/live", timeout=60).status_code == 200
        assert time.monotonic() - started < 3
    finally:
        begin()
    server.wait_until_ready()

    assert ask_all() == {200, 404}
    server.stop()
    assert '"level":"error"' not in server.log.read_text()


@pytest.mark.no_database
def test_a_database_that_crashes_under_load_loses_nothing(postgres: PostgresServer, tmp_path: Path) -> None:
    """Every answer is honest: what was acknowledged is there, what was refused is not, and it goes on by itself."""
    backend = Postgres(postgres)
    server = backend.server(tmp_path / "data").start()
    backend.create_topics(server)
    history = History()
    clients = [Client(server.url, f"c{number}", history) for number in range(4)]
    for client in clients:
        client.start()
    chance = random.Random(7)
    for seconds in OUTAGES:
        clients[0].stopping.wait(chance.uniform(0.5, 1.5))
        postgres.crash()
        clients[0].stopping.wait(seconds)
        postgres.start()
        server.wait_until_ready()
    finish(clients, server)
    stored = backend.read(server)
    server.stop()

    history.check(stored, is_gapless=True)
    assert [client.unexpected for client in clients] == [[]] * 4
    statuses = sum((client.statuses for client in clients), Counter[int]())
    assert statuses[200] > 20
    assert statuses[503] > 0
    # A commit that was under way.
    assert statuses[504] <= len(OUTAGES) * len(clients)


@pytest.mark.no_database
def test_workers_of_other_servers_are_woken(postgres: PostgresServer, tmp_path: Path) -> None:
    server = LiveServer(
        tmp_path / "data", DATABASE_URL=create_database(postgres.url(), "takhin"), TAKHIN_WORKERS="0"
    ).start()
    server.create_topic("orders", 1)
    worker = subprocess.Popen(server.command("run_produce_worker"), cwd=server.root, env=server.environment)
    try:
        for value in range(3):
            accepted = server.produce("orders", [{"value": value}], **{"async": "true"}).json()
            found = server.http.get(f"{server.url}/api/produce/status/{accepted['requestId']}?wait=20").json()
            assert found["status"] == "completed"
        with psycopg.connect(postgres.url("takhin")) as other:
            sessions = other.execute("SELECT query FROM pg_stat_activity WHERE query ~ '^(NOTIFY|LISTEN)'").fetchall()
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
        server.stop()

    # The server tells, and only the worker listens.
    assert sorted(query for (query,) in sessions) == ["LISTEN takhin_work", "NOTIFY takhin_work"]


# The start


def test_a_server_that_may_forget_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
    try:
        (found,) = checks.postgres_is_durable(None, databases=["default"])
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET synchronous_commit")

    assert found.id == "takhin.E004"
    assert "synchronous_commit=on" in found.msg
    assert checks.postgres_is_durable(None, databases=["default"]) == []


@pytest.mark.no_database
def test_a_database_of_another_encoding_is_refused(tmp_path: Path) -> None:
    url = os.environ["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as server:
        server.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")

    line = refusal(manage(tmp_path, "serve", DATABASE_URL=url.rpartition("/")[0] + "/ascii"))

    assert line == "CommandError: The database's encoding must be UTF8, but is SQL_ASCII."


@pytest.mark.no_database
@pytest.mark.parametrize(("workers", "least"), [(1, 21), (2, 23)])
def test_a_pool_smaller_than_the_threads_is_refused(tmp_path: Path, workers: int, least: int) -> None:
    variables = {"TAKHIN_DB_POOL_SIZE": str(least - 1), "TAKHIN_WORKERS": str(workers)}

    line = refusal(manage(tmp_path, "check", **variables))

    assert line.startswith(f"takhin: TAKHIN_DB_POOL_SIZE must be at least {least}: ")
    assert line.endswith(f"got {least - 1}")


@pytest.mark.no_database
@pytest.mark.parametrize("end", ["/missing", "/postgres?sslmode=require", "/postgres?sslmod=x"])
def test_a_database_that_cannot_be_reached_ends_serve_in_one_line(tmp_path: Path, end: str) -> None:
    url = os.environ["DATABASE_URL"].rpartition("/")[0] + end

    line = refusal(manage(tmp_path, "serve", DATABASE_URL=url))

    assert line.startswith("CommandError: cannot use the database (DATABASE_URL, TAKHIN_DATA_DIR): ")
    assert any(reason in line for reason in ('database "missing" does not exist', "does not support SSL", '"sslmod"'))


@pytest.mark.no_database
def test_any_process_shows_the_pools_of_all(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_PROCESSES="2").start()
    try:
        # Scraped several times, so that both respond.
        for _ in range(5):
            assert seen(server, "takhin_database_pool_connections") == {"server-0": 2, "server-1": 2}
    finally:
        server.stop()
