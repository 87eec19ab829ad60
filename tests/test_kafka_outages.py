"""Brokers that stop, die or hang under load: every answer is true, and nothing that was accepted is lost."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from confluent_kafka.admin import AdminClient, NewTopic

from devservers.kafka import KafkaCluster
from devservers.takhin import LiveServer
from tests.kafka.reading import read_all

pytestmark = [pytest.mark.no_database, pytest.mark.kafka]

Place = tuple[int, int]


class Load(threading.Thread):
    """Sends records one by one, sync or async, and notes every answer."""

    def __init__(self, server: LiveServer, topic: str, name: str, is_async: bool) -> None:
        super().__init__(name=name)
        self.server = server
        self.topic = topic
        self.is_async = is_async
        self.written: dict[str, Place] = {}
        self.accepted: dict[str, str] = {}
        self.refused: set[str] = set()
        self.in_doubt: set[str] = set()
        self.wrong: list[str] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        with requests.Session() as http:
            for number in itertools.count():
                if self.stopping.wait(0.01):
                    return
                self._send(http, f"{self.name}-{number}")

    def _send(self, http: requests.Session, value: str) -> None:
        answer = http.post(
            f"{self.server.url}/api/topics/{self.topic}/produce",
            json={"records": [{"value": value}]},
            params={"value.format": "string", "async": str(self.is_async).lower()},
            timeout=60,
        )
        match answer.status_code:
            case 200:
                (metadata,) = answer.json()["offsets"]
                self.written[value] = (metadata["partition"], metadata["offset"])
            case 202:
                self.accepted[value] = answer.json()["requestId"]
            case 503 if answer.json()["retriable"] and "Retry-After" in answer.headers:
                self.refused.add(value)
                time.sleep(0.1)
            case 504 if answer.json()["code"] == "outcome_unknown":
                self.in_doubt.add(value)
            case _:
                self.wrong.append(f"{answer.status_code} {answer.text}")

    def end(self) -> None:
        self.stopping.set()
        self.join()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[KafkaCluster], LiveServer]]:
    started: list[LiveServer] = []

    def make(cluster: KafkaCluster) -> LiveServer:
        server = LiveServer(tmp_path / "data", TAKHIN_LOG="kafka", KAFKA_BOOTSTRAP_SERVERS=cluster.bootstrap)
        started.append(server.start())
        return server

    yield make
    for server in started:
        server.stop()


def loads(server: LiveServer, topic: str) -> list[Load]:
    made = [Load(server, topic, f"{kind}{n}", kind == "async") for kind in ("sync", "async") for n in range(2)]
    for load in made:
        load.start()
    return made


def judge(server: LiveServer, cluster: KafkaCluster, topic: str, made: list[Load]) -> None:
    """Whatever was answered is what the log holds."""
    for load in made:
        load.end()
    assert [wrong for load in made for wrong in load.wrong] == []
    written = {value: place for load in made for value, place in load.written.items()}
    for load in made:
        for value, request_id in load.accepted.items():
            ended = finished(server, request_id)
            assert ended["status"] == "completed", ended
            written[value] = (ended["offsets"][0]["partition"], ended["offsets"][0]["offset"])
    stored = read_all(cluster.bootstrap, topic)
    copies = Counter((record.value or b"").decode() for record in stored)
    found = {(record.value or b"").decode(): (record.partition, record.offset) for record in stored}
    assert {value: count for value, count in copies.items() if count > 1} == {}
    assert {value: place for value, place in written.items() if found.get(value) != place} == {}
    assert found.keys() <= written.keys() | {value for load in made for value in load.in_doubt}
    assert len(written) > 20


def finished(server: LiveServer, request_id: str) -> Any:
    for _ in range(10):
        answer = server.http.get(f"{server.url}/api/produce/status/{request_id}?wait=20", timeout=60)
        if answer.json()["status"] != "pending":
            return answer.json()
    raise AssertionError(f"{request_id} is still pending")


def ready(server: LiveServer) -> Any:
    members = server.http.get(f"{server.url}/api/health/ready", timeout=10).json()
    assert members.pop("database").startswith(("SQLite ", "PostgreSQL"))
    return members


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_broker_is_away_for_twenty_seconds(start: Callable[[KafkaCluster], LiveServer], tmp_path: Path) -> None:
    cluster = KafkaCluster(tmp_path / "kafka").start()
    try:
        server = start(cluster)
        server.create_topic("away", 3)
        made = loads(server, "away")
        time.sleep(2)
        cluster.stop(1)
        until(lambda: ready(server).get("degraded") == ["log"])
        time.sleep(20)
        cluster.start(1)
        until(lambda: ready(server) == {"ready": True})
        seen = sum(len(load.written) for load in made)
        until(lambda: sum(len(load.written) for load in made) > seen + 20)
        judge(server, cluster, "away", made)

        assert any(load.refused for load in made)
        assert all(load.accepted for load in made if load.is_async)
        assert not any(load.refused for load in made if load.is_async)
    finally:
        cluster.close()


@pytest.mark.parametrize("trouble", ["kill", "stop", "pause"])
def test_one_broker_of_three_is_not_missed(
    kafka_trio: KafkaCluster, start: Callable[[KafkaCluster], LiveServer], trouble: str
) -> None:
    server = start(kafka_trio)
    topic = f"trio-{trouble}"
    server.create_topic(topic, 3)
    made = loads(server, topic)
    time.sleep(2)
    getattr(kafka_trio, trouble)(kafka_trio.leader_of(topic, 0))
    time.sleep(8)
    judge(server, kafka_trio, topic, made)

    # All of it within the time that a request has; but the controllers may take longer than that to give a broker up
    # that hangs, and what was sent to it is in doubt then.
    unanswered = [load.refused if trouble == "pause" else load.refused | load.in_doubt for load in made]
    assert [value for values in unanswered for value in values] == []


def test_a_partition_without_a_leader_holds_up_nothing_else(
    kafka_trio: KafkaCluster, start: Callable[[KafkaCluster], LiveServer]
) -> None:
    """One such partition made every list of topics a 503 after ten seconds, and held up async requests beside it."""
    server = start(kafka_trio)
    admin = AdminClient({"bootstrap.servers": kafka_trio.bootstrap})
    (made,) = admin.create_topics([NewTopic("lonely", 2, replica_assignment=[[1], [2]])]).values()
    made.result(30)
    url = f"{server.url}/api/topics/lonely"
    until(lambda: server.http.get(url, timeout=30).status_code == 200)
    assert bounds_of(server, "lonely") == [(0, 0), (0, 0)]
    # The other two hold the majority of the controllers.
    kafka_trio.kill(1)
    until(lambda: bounds_of(server, "lonely") == [(None, None), (0, 0)])

    names = [topic["name"] for topic in server.http.get(f"{server.url}/api/topics", timeout=30).json()]
    assert "lonely" in names
    read = server.http.get(f"{server.url}/api/topics/lonely/messages?partition=0", timeout=30)
    assert (read.status_code, read.json()["detail"]) == (503, "partition 0 of topic 'lonely' has no leader")
    both = server.produce("lonely", [{"value": number, "partition": number} for number in range(2)])
    assert both.status_code == 200
    refused, taken = both.json()["offsets"]
    assert (refused["code"], refused["retriable"]) == ("log_unavailable", True)
    assert (taken["partition"], taken["offset"]) == (1, 0)
    alone = server.produce("lonely", [{"value": 0, "partition": 0}])
    assert (alone.status_code, alone.json()["retriable"]) == (503, True)
    waiting, written = (
        server.produce("lonely", [{"value": number, "partition": number}], **{"async": "true"}).json()["requestId"]
        for number in range(2)
    )
    assert finished(server, written)["status"] == "completed"
    assert server.http.get(f"{server.url}/api/produce/status/{waiting}", timeout=10).json()["status"] == "pending"

    kafka_trio.start(1)
    assert finished(server, waiting)["offsets"][0]["offset"] == 0
    assert bounds_of(server, "lonely")[0][0] == 0


def bounds_of(server: LiveServer, topic: str) -> list[tuple[int | None, int | None]]:
    answer = server.http.get(f"{server.url}/api/topics/{topic}", timeout=30)
    assert answer.status_code == 200, answer.text
    return [(one["firstOffset"], one["highWaterMark"]) for one in answer.json()["partitions"]]
