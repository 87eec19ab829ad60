"""Offsets have no gap and no double, whoever writes at the same time."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from django.db import connection, connections

from core.database import group_commit, transactions
from core.database.group_commit import Locked
from core.errors import StorageDamaged, StorageUnavailable
from devservers.takhin import LiveServer
from tests.conftest import JOURNALS
from topics.log.contract import AppendRequest
from topics.log.embedded.log import EmbeddedLog
from topics.log.errors import TopicNotFound
from topics.log.records import Record, Write
from topics.models import Partition, Topic

THREADS = 16
APPENDS = 25


def test_it_works_under_threads() -> None:
    log = EmbeddedLog()
    log.create_topic("orders", 3)

    def append(writer: int) -> list[tuple[int, int, bytes]]:
        acknowledged = []
        for number in range(APPENDS):
            value = b"%d-%d" % (writer, number)
            writes = [
                Write("orders", partition, [Record(None, value, 0)] * 2) for partition in (number % 3, (number + 1) % 3)
            ]
            for write, results in zip(writes, log.append(writes), strict=True):
                acknowledged += [(write.partition, metadata.offset, value) for metadata in results]
        connections.close_all()
        return acknowledged

    with ThreadPoolExecutor(THREADS) as pool:
        acknowledged = [entry for entries in pool.map(append, range(THREADS)) for entry in entries]

    stored = [
        (partition, record.offset, record.value)
        for partition in range(3)
        for start in range(0, THREADS * APPENDS * 4, 1000)
        for record in log.read("orders", partition, start, 1000)
    ]
    assert sorted(stored) == sorted(acknowledged)
    assert len(stored) == THREADS * APPENDS * 4
    for partition in range(3):
        offsets = [offset for number, offset, _ in stored if number == partition]
        assert offsets == list(range(len(offsets)))


def test_one_bad_append_does_not_fail_its_neighbours() -> None:
    """Appends that wait at the same moment share a commit; one that is refused must not undo the others."""
    log = EmbeddedLog()
    log.create_topic("orders", 1)
    ready = threading.Barrier(THREADS)

    def append(writer: int) -> str:
        ready.wait()

        def refuse(results: object) -> None:
            if writer % 4 == 0:
                raise TopicNotFound("refused")

        try:
            log.append([Write("orders", 0, [Record(None, b"%d" % writer, 0)])], refuse)
        except TopicNotFound:
            return "refused"
        finally:
            connections.close_all()
        return "written"

    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(append, range(THREADS)))

    assert answers.count("refused") == THREADS // 4
    stored = log.read("orders", 0, 0, 100)
    assert sorted(int(record.value or b"") for record in stored) == [n for n in range(THREADS) if n % 4]
    assert [record.offset for record in stored] == list(range(len(stored)))


def test_a_damaged_partition_does_not_fail_the_others_of_its_group() -> None:
    log = EmbeddedLog()
    for name in ("damaged", "sound"):
        log.create_topic(name, 1)
        append_one(log, b"first", name)
    # The next batch would take an offset that is taken.
    Partition.objects.filter(topic__name="damaged").update(next_offset=0)
    writes = {name: [Write(name, 0, [Record(None, b"second", 0)])] for name in ("sound", "damaged")}
    requests = [AppendRequest(writes[name], lambda results: results, name, name) for name in writes]

    sound, damaged = log.append_each(requests)

    assert sound[0][0].offset == 1
    assert isinstance(damaged, StorageDamaged)
    assert str(damaged).startswith("partition 0 of topic damaged already has a batch at its next offset; run ")
    assert [record.value for record in log.read("sound", 0, 0, 10)] == [b"first", b"second"]


def test_a_topic_that_another_process_deleted_is_named_and_costs_its_neighbours_nothing() -> None:
    log = EmbeddedLog()
    for name in ("deleted", "kept"):
        log.create_topic(name, 1)
        append_one(log, b"first", name)
    EmbeddedLog().delete_topic("deleted")
    # The first log remembers the partitions.
    writes = {name: [Write(name, 0, [Record(None, b"second", 0)])] for name in ("kept", "deleted")}
    requests = [AppendRequest(writes[name], lambda results: results, name, name) for name in writes]

    kept, deleted = log.append_each(requests)

    assert kept[0][0].offset == 1
    assert isinstance(deleted, TopicNotFound)
    assert "there is no topic named 'deleted'" in str(deleted)


@pytest.mark.sqlite
def test_appends_that_wait_at_the_same_moment_share_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    log = EmbeddedLog()
    log.create_topic("orders", 1)
    groups: list[int] = []
    attempt = group_commit.Writer._attempt

    def counted(self: group_commit.Writer, group: list[Any], started: list[Any]) -> None:
        groups.append(len(group))
        attempt(self, group, started)

    monkeypatch.setattr(group_commit.Writer, "_attempt", counted)
    with waiting_together(THREADS) as pool:
        appends = [pool.submit(append_one, log, b"%d" % number) for number in range(THREADS)]
    for one in appends:
        one.result()

    assert groups == [1, THREADS]
    assert len(log.read("orders", 0, 0, 100)) == THREADS
    partition = Partition.objects.get()
    assert partition.stored_bytes == sum(batch.stored_bytes for batch in partition.batches.all()) > 0


@pytest.mark.sqlite
def test_a_broken_connection_of_the_writer_costs_the_others_of_its_group_nothing() -> None:
    log = EmbeddedLog()
    log.create_topic("orders", 1)

    def break_it() -> None:
        connection.connection.close()
        Topic.objects.count()

    with waiting_together(3) as pool:
        broken = pool.submit(transactions.commit, break_it)
        appends = [pool.submit(append_one, log, value) for value in (b"one", b"two")]
    with pytest.raises(StorageUnavailable):
        broken.result()
    for one in appends:
        one.result()

    assert {record.value for record in log.read("orders", 0, 0, 10)} == {b"one", b"two"}


def append_one(log: EmbeddedLog, value: bytes, topic: str = "orders") -> None:
    log.append([Write(topic, 0, [Record(None, value, 0)])])
    connections.close_all()


@contextmanager
def waiting_together(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool whose `count` jobs, submitted in the block, wait for one commit that is under way."""
    begun, released = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        released.wait(10)

    with ThreadPoolExecutor(count + 1) as pool:
        holding = pool.submit(transactions.commit, hold)
        assert begun.wait(10)
        yield pool
        deadline = time.monotonic() + 10
        while len(group_commit.current()._waiting) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        released.set()
        holding.result()


@pytest.mark.no_database
@pytest.mark.parametrize("journal", JOURNALS)
def test_two_server_processes_append_to_one_partition(tmp_path: Path, journal: str) -> None:
    first = LiveServer(tmp_path / "data", TAKHIN_SQLITE_JOURNAL=journal).start()
    second = LiveServer(tmp_path / "data", TAKHIN_SQLITE_JOURNAL=journal).start()
    try:
        first.create_topic("shared", 1)

        def produce(writer: int) -> list[tuple[int, str]]:
            server = (first, second)[writer % 2]
            acknowledged = []
            with requests.Session() as http:
                for number in range(40):
                    value = f"{writer}-{number}"
                    answer = http.post(
                        f"{server.url}/api/topics/shared/produce?value.format=string",
                        json={"records": [{"value": value}, {"value": value}]},
                        timeout=30,
                    )
                    assert answer.status_code == 200, answer.text
                    acknowledged += [(metadata["offset"], value) for metadata in answer.json()["offsets"]]
            return acknowledged

        with ThreadPoolExecutor(8) as pool:
            acknowledged = [entry for entries in pool.map(produce, range(8)) for entry in entries]

        stored = [(record["offset"], record["value"]) for record in first.read("shared", 0)]
        assert sorted(acknowledged) == stored
        assert [offset for offset, _ in stored] == list(range(8 * 40 * 2))
    finally:
        first.stop()
        second.stop()


@pytest.mark.sqlite
def test_a_lock_of_others_is_waited_for_as_long_as_the_caller_may(settings: Any) -> None:
    settings.TAKHIN_PRODUCE_TIMEOUT = 1
    name = str(connection.settings_dict["NAME"])
    with closing(sqlite3.connect(name, isolation_level=None)) as other, ThreadPoolExecutor(1) as pool:
        assert transactions.commit(lambda: "free") == "free"
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match=r"^the database was busy for 0\.05 seconds$"):
            transactions.commit(lambda: "never", 0.05)
        with pytest.raises(Locked, match=r"^another process has kept the database locked for 1 s$"):
            transactions.commit(lambda: "never")
        assert group_commit.current().is_blocked
        # From now on nobody waits: not even one who may not wait at all.
        with pytest.raises(Locked):
            transactions.commit(lambda: "never", 0.000_001)
        settings.TAKHIN_PRODUCE_TIMEOUT = 30
        waiting = pool.submit(transactions.commit, lambda: "at last")
        time.sleep(0.3)
        assert not waiting.done()
        other.execute("ROLLBACK")
        assert waiting.result(10) == "at last"
    assert not group_commit.current().is_blocked
    assert transactions.last_commit.failure is None


@pytest.mark.sqlite
def test_the_end_of_a_lock_is_noticed_though_nobody_writes(settings: Any) -> None:
    settings.TAKHIN_PRODUCE_TIMEOUT = 1
    with closing(sqlite3.connect(str(connection.settings_dict["NAME"]), isolation_level=None)) as other:
        before = other.execute("PRAGMA user_version").fetchone()
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable):
            transactions.commit(lambda: None, 0.5)
        assert group_commit.current().is_blocked
        other.execute("ROLLBACK")
        deadline = time.monotonic() + 10
        while group_commit.current().is_blocked:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        # Trying leaves no trace.
        assert other.execute("PRAGMA user_version").fetchone() == before
