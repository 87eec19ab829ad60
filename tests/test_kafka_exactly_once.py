"""On a real Kafka cluster, what was accepted is written exactly once, whenever its worker is killed."""

import contextlib
import fcntl
import itertools
import json
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.kafka.cluster import KafkaCluster
from tests.kafka.reading import read_all
from tests.live import LiveServer

pytestmark = [pytest.mark.no_database, pytest.mark.kafka]

KILLS = 20
RECORDS = 3


class Submitter(threading.Thread):
    """Sends async requests of three records until told to stop, and notes the ids of those that were accepted."""

    def __init__(self, server: LiveServer, topic: str) -> None:
        super().__init__()
        self.server = server
        self.topic = topic
        self.accepted: dict[str, list[str]] = {}
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
                assert answer.status_code == 202, answer.text
                self.accepted[answer.json()["requestId"]] = values


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
def gateway(kafka: KafkaCluster, tmp_path: Path) -> Callable[..., LiveServer]:
    """Starts a server that leaves async requests to workers in processes of their own."""

    def start(**variables: str) -> LiveServer:
        variables = {
            "TAKHIN_LOG": "kafka",
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
            "TAKHIN_WORKERS": "0",
            **variables,
        }
        return LiveServer(tmp_path / "data", **variables).start()

    return start


def test_kill_9_at_any_moment_writes_each_record_once(kafka: KafkaCluster, gateway: Callable[..., LiveServer]) -> None:
    server = gateway()
    server.create_topic("killed", 3)
    submitter = Submitter(server, "killed")
    submitter.start()
    workers = Workers(server)
    chance = random.Random(11)
    for number in range(KILLS):
        workers.start()
        # Until it has written something, and then at any moment of its rounds.
        seen = len(workers.events("ran")) if number else 0
        while len(workers.events("ran")) == seen and workers.process is not None and workers.process.poll() is None:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 0.3))
        assert workers.end(signal.SIGKILL) == -signal.SIGKILL
    submitter.stopping.set()
    submitter.join()
    workers.start()
    ended = statuses(server, list(submitter.accepted))
    assert workers.end(signal.SIGTERM) == 0
    server.stop()

    judge(kafka, "killed", submitter.accepted, ended)
    resolved = workers.events("slot resolved")
    # Both kinds of what a kill leaves were met: else this test would show nothing.
    assert sum(event["given_back"] for event in resolved) > 0
    assert len(submitter.accepted) > KILLS
    # A worker that ended in order has given its slot back.
    assert workers.events("slot lost") == []


def pause(process: "subprocess.Popen[bytes]", server: LiveServer) -> None:
    """Stop the process at a moment when it does not hold SQLite's lock, which would stop everyone."""
    while True:
        process.send_signal(signal.SIGSTOP)
        with (server.folder / "takhin.sqlite3.lock").open() as file:
            for _ in range(20):
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                time.sleep(0.05)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.1)


def test_a_zombie_is_fenced(kafka: KafkaCluster, gateway: Callable[..., LiveServer]) -> None:
    """A worker that is paused for longer than its lease wakes up when another has done its work."""
    server = gateway()
    server.create_topic("zombie", 3)
    submitter = Submitter(server, "zombie")
    submitter.start()
    zombie, heir = Workers(server), Workers(server)
    zombie.start()
    while not zombie.events("ran"):
        time.sleep(0.02)
    assert zombie.process is not None
    pause(zombie.process, server)
    heir.start()
    # It resolves what the zombie holds once the lease is out.
    until(lambda: heir.events("slot resolved"), 90)
    zombie.process.send_signal(signal.SIGCONT)
    until(lambda: zombie.events("slot lost") or zombie.events("in doubt, the receipts will tell"), 60)
    submitter.stopping.set()
    submitter.join()
    ended = statuses(server, list(submitter.accepted))
    for workers in (zombie, heir):
        assert workers.end(signal.SIGTERM) == 0
    server.stop()

    judge(kafka, "zombie", submitter.accepted, ended)


def test_a_worker_that_ends_in_order_hands_over_at_once(
    kafka: KafkaCluster, gateway: Callable[..., LiveServer]
) -> None:
    server = gateway()
    server.create_topic("handed-over", 3)
    submitter = Submitter(server, "handed-over")
    submitter.start()
    workers = Workers(server)
    for number in range(4):
        seen = len(workers.events("ran")) if number else 0
        workers.start()
        until(lambda seen=seen: len(workers.events("ran")) > seen, 60)
        assert workers.end(signal.SIGTERM) == 0
    workers.start()
    submitter.stopping.set()
    submitter.join()
    ended = statuses(server, list(submitter.accepted))
    assert workers.end(signal.SIGTERM) == 0
    slots = server.manage(
        "shell",
        "-v0",
        "-c",
        "from producer.models import WorkerSlot; print(list(WorkerSlot.objects.values_list('owner')))",
    )
    server.stop()

    # One slot served them all, and is free again.
    assert slots.strip() == "[('',)]"
    judge(kafka, "handed-over", submitter.accepted, ended)


def test_without_transactions_nothing_is_lost_and_doubles_can_be_told(
    kafka: KafkaCluster, gateway: Callable[..., LiveServer]
) -> None:
    server = gateway(TAKHIN_KAFKA_EXACTLY_ONCE="false")
    server.create_topic("at-least-once", 3)
    submitter = Submitter(server, "at-least-once")
    submitter.start()
    workers = Workers(server)
    chance = random.Random(5)
    for number in range(5):
        seen = len(workers.events("ran")) if number else 0
        workers.start()
        until(lambda seen=seen: len(workers.events("ran")) > seen, 60)
        time.sleep(chance.uniform(0, 0.3))
        workers.end(signal.SIGKILL)
    submitter.stopping.set()
    submitter.join()
    workers.start()
    ended = statuses(server, list(submitter.accepted))
    assert workers.end(signal.SIGTERM) == 0
    server.stop()

    assert {one["status"] for one in ended.values()} == {"completed"}
    told = {}
    for record in read_all(kafka.bootstrap, "at-least-once"):
        headers = dict(record.headers)
        told[headers["takhin-request-id"], headers["takhin-record"]] = record.value
    values = [value.encode() for sent in submitter.accepted.values() for value in sent]
    assert sorted(value for value in told.values() if value is not None) == sorted(values)


def until(is_so: Callable[[], Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
