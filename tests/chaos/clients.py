"""Clients that send every kind of request, and note what they are told."""

import itertools
import json
import threading
import time
from collections import Counter
from typing import Any

import requests

from devservers.takhin import LiveServer
from tests.chaos.history import History, Operation
from tests.raw import Client as RawClient
from tests.raw import post

TOPICS = ("left", "right")
PARTITIONS = 2
TRANSIENT = (409, 429, 503, 504)


class Client(threading.Thread):
    """Sends sync, async, keyed and atomic requests in turn. Requests with a key are sent until they have a response."""

    def __init__(self, url: str, name: str, history: History, pause: float = 0.005) -> None:
        super().__init__(name=name, daemon=True)
        self.url = url
        self.history = history
        self.pause = pause
        self.stopping = threading.Event()
        self.unexpected: list[str] = []
        # How often there was each response; 0 is a lost connection.
        self.statuses: Counter[int] = Counter()
        self._http = requests.Session()

    def run(self) -> None:
        for number in itertools.count():
            if self.stopping.is_set():
                return
            self.send(number)
            self.stopping.wait(self.pause)

    def send(self, number: int) -> Operation:
        name = f"{self.name}-{number}"
        is_async, has_key, is_atomic = bool(number & 1), bool(number & 2), number % 5 == 0
        topics = TOPICS if is_atomic or number % 3 == 0 else TOPICS[:1]
        values = [(topic, f"{name}-{index}") for index, topic in enumerate(topics)]
        operation = Operation(values, name if has_key else "", is_atomic)
        self.history.add(operation)
        if not has_key:
            self._try(operation, is_async)
            return operation
        while not (operation.offsets or operation.request_id or operation.is_rejected):
            if not self._try(operation, is_async):
                time.sleep(0.05)
        if number % 4 < 3:
            # The first response may have been lost, and this is the second. A third must be equal.
            self._try(operation, is_async)
        return operation

    def _try(self, operation: Operation, is_async: bool) -> bool:
        """Send the request once. Return whether there was a final response."""
        body = {"records": [{"topic": topic, "value": value} for topic, value in operation.values]}
        query = {"value.format": "string", "async": str(is_async), "atomic": str(operation.is_atomic)}
        headers = {"Idempotency-Key": operation.key} if operation.key else {}
        try:
            answer = self._http.post(f"{self.url}/api/produce", json=body, params=query, headers=headers, timeout=60)
        except requests.RequestException:
            self.statuses[0] += 1
            return False
        self.statuses[answer.status_code] += 1
        if answer.status_code in (200, 202):
            self._note(operation, answer.json())
            return True
        if answer.status_code not in TRANSIENT:
            self.unexpected.append(f"{answer.status_code} {answer.text}")
            return True
        operation.is_rejected = answer.status_code in (429, 503) and not operation.key
        return False

    def _note(self, operation: Operation, response: dict[str, Any]) -> None:
        operation.replays.append(response)
        operation.request_id = response.get("requestId", "")
        if "offsets" in response:
            operation.offsets = response["offsets"]


class KeyedClient(Client):
    """Sends a number of sync requests with keys, each until it has a response."""

    def __init__(self, url: str, name: str, history: History, count: int) -> None:
        super().__init__(url, name, history)
        self._count = count

    def run(self) -> None:
        for number in range(self._count):
            value = f"{self.name}-{number}"
            operation = self.history.add(Operation([(TOPICS[0], value)], value))
            while not operation.offsets:
                if not self._try(operation, is_async=False):
                    time.sleep(0.05)


class GreedyClient(Client):
    """Sends sync requests without keys and without a pause, in bodies of `size` bytes more than needed.

    Expects that each is written, or rejected with the time to retry.
    """

    def __init__(self, url: str, name: str, history: History, size: int) -> None:
        super().__init__(url, name, history, 0)
        self.size = size

    def send(self, number: int) -> Operation:
        value = f"{self.name}-{number}"
        operation = self.history.add(Operation([(TOPICS[0], value)]))
        body = json.dumps({"records": [{"value": value}]}).encode() + b" " * self.size
        url = f"{self.url}/api/topics/{TOPICS[0]}/produce?value.format=string"
        try:
            answer = self._http.post(url, body, timeout=60)
        except requests.RequestException as error:
            self.statuses[0] += 1
            self.unexpected.append(str(error))
            return operation
        self.statuses[answer.status_code] += 1
        if answer.status_code == 200:
            self._note(operation, answer.json())
        elif answer.status_code == 503 and answer.json()["code"] == "overloaded" and "Retry-After" in answer.headers:
            operation.is_rejected = True
        else:
            self.unexpected.append(f"{answer.status_code} {answer.headers} {answer.text}")
        return operation


class SlowClient(Client):
    """Sends the second half of each body two seconds after the first. Its requests are sync and async in turn."""

    def send(self, number: int) -> Operation:
        value = f"{self.name}-{number}"
        has_key, mode = bool(number & 2), "true" if number & 1 else "false"
        operation = self.history.add(Operation([(TOPICS[0], value)], value if has_key else ""))
        body = json.dumps({"records": [{"value": value}]}).encode()
        path = f"/api/topics/{TOPICS[0]}/produce?value.format=string&async={mode}"
        message = post(path, body, *([f"Idempotency-Key: {value}"] if has_key else []))
        with RawClient(self.url, timeout=60) as connection:
            half = len(message) - len(body) // 2
            reply = connection.send(message[:half], message[half:], pause=2).reply()
        self.statuses[reply.status] += 1
        if reply.status in (200, 202):
            self._note(operation, reply.json())
        else:
            self.unexpected.append(f"{reply.status} {reply.body!r}")
        return operation


class WanderingClient(Client):
    """Sends requests without keys, on a connection each. Refused connections, and nothing else, are tried elsewhere.

    `broken` are the errors of connections that were not refused.
    """

    def __init__(self, urls: list[str], name: str, history: History) -> None:
        super().__init__(urls[0], name, history, 0.01)
        self._urls = itertools.cycle(urls)
        self.broken: list[str] = []

    def send(self, number: int) -> Operation:
        operation = self.history.add(Operation([(TOPICS[0], f"{self.name}-{number}")]))
        for url in itertools.islice(self._urls, 3):
            self.url = url
            try:
                answer = requests.post(
                    f"{url}/api/topics/{TOPICS[0]}/produce",
                    json={"records": [{"value": operation.values[0][1]}]},
                    params={"value.format": "string", "async": str(bool(number % 2))},
                    timeout=60,
                )
            except requests.ConnectionError as error:
                if "refused" not in str(error):
                    self.broken.append(str(error))
                    break
            else:
                if answer.status_code in (200, 202):
                    self._note(operation, answer.json())
                else:
                    self.unexpected.append(f"{answer.status_code} {answer.text}")
                break
        return operation


def finish(clients: list[Client], server: LiveServer) -> None:
    """Let each client have its last response, and every accepted request its end."""
    time.sleep(0.3)
    for client in clients:
        client.stopping.set()
    for client in clients:
        client.join(120)
        assert not client.is_alive()
    for operation in clients[0].history.operations:
        if operation.request_id:
            operation.offsets = offsets_of(server, operation.request_id)


def offsets_of(server: LiveServer, request_id: str) -> Any:
    """Return where an accepted request was written, or None if that was purged meanwhile."""
    deadline = time.monotonic() + 120
    while True:
        answer = requests.get(f"{server.url}/api/produce/status/{request_id}?wait=10", timeout=60)
        if answer.status_code == 404 and server.environment.get("TAKHIN_REQUEST_TTL"):
            return None
        assert answer.status_code == 200, answer.text
        if answer.json()["status"] != "pending":
            assert answer.json()["status"] == "completed", answer.text
            return answer.json()["offsets"]
        assert time.monotonic() < deadline, f"{request_id} is still pending"
