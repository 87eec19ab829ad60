"""On a real Kafka cluster, what was accepted is written exactly once, whenever its worker is killed."""

import itertools
import json
import random
import signal
import subprocess
import threading
import time
from collections import Counter
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
        self.log = server.folder / "worker.log"
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


def test_kill_9_at_any_moment_writes_each_record_once(kafka: KafkaCluster, tmp_path: Path) -> None:
    server = LiveServer(
        tmp_path / "data",
        TAKHIN_LOG="kafka",
        KAFKA_BOOTSTRAP_SERVERS=kafka.bootstrap,
        TAKHIN_WORKERS="0",
    ).start()
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
    print(f"{KILLS} kills, {len(submitter.accepted)} requests, resolved {resolved}")
