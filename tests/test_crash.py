"""kill -9 at any moment loses nothing that was acknowledged and doubles nothing."""

import itertools
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests

from devservers.takhin import LiveServer
from tests.conftest import JOURNALS

pytestmark = pytest.mark.no_database

KILLS = 6
CLIENTS = 4


class Client(threading.Thread):
    """Sends records one by one, sync and async in turn, and notes how each was answered; status 0 is no answer."""

    def __init__(self, server: LiveServer, number: int) -> None:
        super().__init__()
        self.server = server
        self.number = number
        self.sent: list[str] = []
        self.written: dict[str, tuple[int, int]] = {}
        self.accepted: dict[str, str] = {}
        self.refused: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self.stopping = threading.Event()

    def run(self) -> None:
        for count in itertools.count():
            if self.stopping.is_set():
                return
            value = f"{self.number}-{count}"
            self.sent.append(value)
            try:
                self._send(value, is_async=bool(count % 2))
            except (requests.RequestException, ValueError):
                # The server was killed: whether this record is kept is not known, which is no acknowledgement.
                self.statuses[0] += 1
                self.stopping.wait(0.02)

    def _send(self, value: str, is_async: bool) -> None:
        answer = requests.post(
            f"{self.server.url}/api/topics/crash/produce?value.format=string&async={str(is_async).lower()}",
            json={"records": [{"value": value}]},
            timeout=10,
        )
        self.statuses[answer.status_code] += 1
        if answer.status_code == 202:
            self.accepted[value] = answer.json()["requestId"]
        elif answer.status_code == 200:
            (metadata,) = answer.json()["offsets"]
            self.written[value] = (metadata["partition"], metadata["offset"])
        elif answer.status_code == 503:
            self.refused.add(value)
            self.stopping.wait(0.02)


@pytest.mark.parametrize("journal", JOURNALS)
def test_it_works(tmp_path: Path, journal: str) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_SQLITE_JOURNAL=journal).start()
    server.create_topic("crash", 2)
    clients = [Client(server, number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    chance = random.Random(7)
    for _ in range(KILLS):
        clients[0].stopping.wait(chance.uniform(0.2, 1.2))
        server.kill()
        server.start()
    for client in clients:
        client.stopping.set()
    for client in clients:
        client.join()

    ended = {value: finished(server, request_id) for client in clients for value, request_id in client.accepted.items()}
    server.kill()
    server.start()
    stored = {partition: server.read("crash", partition) for partition in range(2)}
    server.stop()

    for records in stored.values():
        assert [record["offset"] for record in records] == list(range(len(records)))
    found = {record["value"]: (record["partition"], record["offset"]) for part in stored.values() for record in part}
    copies = Counter(record["value"] for records in stored.values() for record in records)
    assert {value for value, count in copies.items() if count > 1} == set()
    for client in clients:
        for value, place in client.written.items():
            assert found.get(value) == place
        assert not client.refused & found.keys()
    for value, outcome in ended.items():
        assert outcome["status"] == "completed"
        assert found.get(value) == (outcome["offsets"][0]["partition"], outcome["offsets"][0]["offset"])
    assert found.keys() <= {value for client in clients for value in client.sent}
    assert len(ended) > KILLS
    assert sum(len(client.written) for client in clients) > KILLS


def finished(server: LiveServer, request_id: str) -> Any:
    """The request's end; a claim whose worker was killed is taken over when its lease is out."""
    for _ in range(20):
        answer = server.http.get(f"{server.url}/api/produce/status/{request_id}?wait=10", timeout=60)
        assert answer.status_code == 200, answer.text
        if answer.json()["status"] != "pending":
            return answer.json()
    raise AssertionError(f"{request_id} is still pending")
