"""On a real Kafka cluster, what was accepted is written exactly once, whenever its worker is killed."""

import contextlib
import fcntl
import itertools
import json
import random
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from devservers.kafka import KafkaCluster
from devservers.takhin import LiveServer
from tests.kafka.reading import read_all

pytestmark = [pytest.mark.no_database, pytest.mark.kafka]

KILLS = 8
RECORDS = 3


class Submitter(threading.Thread):
    """Sends async requests of three records until told to stop, and notes the ids of those that were accepted."""

    def __init__(self, server: LiveServer, topic: str) -> None:
        super().__init__()
        self.server = server
        self.topic = topic
        self.accepted: dict[str, list[str]] = {}
        self.wrong: list[str] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        with requests.Session() as http:
            for number in itertools.count():
                if self.stopping.wait(0.02):
                    return
                values = [f"{number}-{index}" for index in range(RECORDS)]
                answer = http.post(
                    f"{self.server.url}/api/topics/{self.topic}/produce?async=true&value.format=string",
                    json={"records": [{"key": number % 7, "value": value} for value in values]},
                    timeout=30,
                )
                if answer.status_code == 202:
                    self.accepted[answer.json()["requestId"]] = values
                else:
                    self.wrong.append(f"{answer.status_code} {answer.text}")


@contextlib.contextmanager
def submitting(server: LiveServer, topic: str) -> Iterator[dict[str, list[str]]]:
    """Keep the workers busy; what was accepted, by request id."""
    submitter = Submitter(server, topic)
    submitter.start()
    try:
        yield submitter.accepted
    finally:
        submitter.stopping.set()
        submitter.join()
    assert submitter.wrong == []


class Workers:
    """`manage.py run_produce_worker` in a process of its own, again and again."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.log = server.folder / f"worker-{id(self)}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.server.command("run_produce_worker"),
                cwd=self.server.root,
                env=self.server.environment,
                stdout=log,
                stderr=log,
            )

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def events(self, name: str) -> list[Any]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]


def statuses(server: LiveServer, ids: list[str]) -> dict[str, Any]:
    """Every request's end; what a killed worker left is resolved when its slot's lease is out."""
    deadline = time.monotonic() + 240
    found: dict[str, Any] = {}
    while len(found) < len(ids):
        assert time.monotonic() < deadline, f"{len(ids) - len(found)} requests are still pending"
        for request_id in ids:
            if request_id not in found:
                answer = server.http.get(f"{server.url}/api/produce/status/{request_id}", timeout=30)
                assert answer.status_code == 200, answer.text
                if answer.json()["status"] != "pending":
                    found[request_id] = answer.json()
        time.sleep(0.5)
    return found


def judge(kafka: KafkaCluster, topic: str, accepted: dict[str, list[str]], ended: dict[str, Any]) -> None:
    """Each record stands exactly once among what is committed, where its status says."""
    stored = read_all(kafka.bootstrap, topic)
    copies = Counter(record.value for record in stored)
    assert {value: count for value, count in copies.items() if count != 1} == {}
    places = {(record.partition, record.offset): record.value for record in stored}
    for request_id, values in accepted.items():
        assert ended[request_id]["status"] == "completed", ended[request_id]
        found = [places[metadata["partition"], metadata["offset"]] for metadata in ended[request_id]["offsets"]]
        assert found == [value.encode() for value in values]
    assert len(stored) == RECORDS * len(accepted)


@pytest.fixture
def gateway(kafka: KafkaCluster, tmp_path: Path) -> Iterator[Callable[..., LiveServer]]:
    """Starts a server that leaves async requests to workers in processes of their own."""
    started: list[LiveServer] = []

    def start(**variables: str) -> LiveServer:
        variables = {
            "TAKHIN_LOG": "kafka",
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
            "TAKHIN_WORKERS": "0",
            **variables,
        }
        server = LiveServer(tmp_path / "data", **variables)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def new_workers() -> Iterator[Callable[[LiveServer], Workers]]:
    made: list[Workers] = []

    def make(server: LiveServer) -> Workers:
        made.append(Workers(server))
        return made[-1]

    yield make
    for workers in made:
        if workers.running:
            workers.end(signal.SIGKILL)


def test_kill_9_at_any_moment_writes_each_record_once(
    kafka: KafkaCluster, gateway: Callable[..., LiveServer], new_workers: Callable[[LiveServer], Workers]
) -> None:
    server = gateway()
    server.create_topic("killed", 3)
    workers = new_workers(server)
    chance = random.Random(11)
    with submitting(server, "killed") as accepted:
        for number in range(KILLS):
            workers.start()
            # Until it has written something, and then at any moment of its rounds.
            seen = len(workers.events("request_finished")) if number else 0
            until(lambda seen=seen: len(workers.events("request_finished")) > seen or not workers.running, 120)
            time.sleep(chance.uniform(0, 0.3))
            assert workers.end(signal.SIGKILL) == -signal.SIGKILL
    workers.start()
    ended = statuses(server, list(accepted))
    assert workers.end(signal.SIGTERM) == 0

    judge(kafka, "killed", accepted, ended)
    resolved = workers.events("slot_resolved")
    # What a kill leaves was met: else this test would show nothing.
    assert sum(event["given_back"] for event in resolved) > 0
    assert len(accepted) > KILLS
    # A worker that ended in order has given its slot back.
    assert workers.events("slot_lost") == []


def pause_in_a_transaction(workers: Workers) -> None:
    """Stop the process while it has requests in hand, and does not hold SQLite's lock, which would stop everyone."""
    assert workers.process is not None
    folder = workers.server.folder
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        workers.process.send_signal(signal.SIGSTOP)
        with (folder / "takhin.sqlite3.lock").open() as file:
            for _ in range(20):
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if requests_in_hand(folder / "takhin.sqlite3"):
                        return
                    break
                time.sleep(0.05)
        workers.process.send_signal(signal.SIGCONT)
        time.sleep(random.uniform(0, 0.1))
    raise AssertionError("the worker never has anything in hand")


def requests_in_hand(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        in_hand = "SELECT count(*) FROM producer_producerequest WHERE status = 'pending' AND slot IS NOT NULL"
        count: int = connection.execute(in_hand).fetchone()[0]
        return count


def test_a_zombie_is_fenced(
    kafka: KafkaCluster, gateway: Callable[..., LiveServer], new_workers: Callable[[LiveServer], Workers]
) -> None:
    """A worker that is paused for longer than its lease wakes up when another has done its work."""
    server = gateway()
    server.create_topic("zombie", 3)
    zombie, heir = new_workers(server), new_workers(server)
    with submitting(server, "zombie") as accepted:
        zombie.start()
        until(lambda: zombie.events("request_finished"), 60)
        pause_in_a_transaction(zombie)
        heir.start()
        # It resolves what the zombie holds once the lease is out.
        until(lambda: heir.events("slot_resolved"), 120)
        assert zombie.process is not None
        zombie.process.send_signal(signal.SIGCONT)
        noticed = ("slot_lost", "request_in_doubt", "session_stuck")
        until(lambda: any(zombie.events(event) for event in noticed), 60)
    ended = statuses(server, list(accepted))
    for workers in (zombie, heir):
        assert workers.end(signal.SIGTERM) == 0

    judge(kafka, "zombie", accepted, ended)


def test_a_worker_that_ends_in_order_hands_over_at_once(
    kafka: KafkaCluster, gateway: Callable[..., LiveServer], new_workers: Callable[[LiveServer], Workers]
) -> None:
    server = gateway()
    server.create_topic("handed-over", 3)
    workers = new_workers(server)
    with submitting(server, "handed-over") as accepted:
        for number in range(4):
            seen = len(workers.events("request_finished")) if number else 0
            workers.start()
            until(lambda seen=seen: len(workers.events("request_finished")) > seen, 60)
            assert workers.end(signal.SIGTERM) == 0
        workers.start()
    ended = statuses(server, list(accepted))
    assert workers.end(signal.SIGTERM) == 0
    slots = server.manage(
        "shell",
        "-v0",
        "-c",
        "from producer.models import WorkerSlot; print(list(WorkerSlot.objects.values_list('owner')))",
    )

    # One slot served them all, and is free again.
    assert slots.strip() == "[('',)]"
    judge(kafka, "handed-over", accepted, ended)


def test_without_transactions_nothing_is_lost_and_doubles_can_be_told(
    kafka: KafkaCluster, gateway: Callable[..., LiveServer], new_workers: Callable[[LiveServer], Workers]
) -> None:
    server = gateway(TAKHIN_KAFKA_EXACTLY_ONCE="false")
    server.create_topic("at-least-once", 3)
    workers = new_workers(server)
    chance = random.Random(5)
    with submitting(server, "at-least-once") as accepted:
        for number in range(5):
            seen = len(workers.events("request_finished")) if number else 0
            workers.start()
            until(lambda seen=seen: len(workers.events("request_finished")) > seen, 60)
            time.sleep(chance.uniform(0, 0.3))
            workers.end(signal.SIGKILL)
    workers.start()
    ended = statuses(server, list(accepted))
    assert workers.end(signal.SIGTERM) == 0

    assert {one["status"] for one in ended.values()} == {"completed"}
    told = {}
    for record in read_all(kafka.bootstrap, "at-least-once"):
        headers = dict(record.headers)
        told[headers["takhin-request-id"], headers["takhin-record"]] = record.value
    values = [value.encode() for sent in accepted.values() for value in sent]
    assert sorted(value for value in told.values() if value is not None) == sorted(values)


def until(is_so: Callable[[], Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
