"""Schemas from a registry elsewhere: a second instance of this product, over HTTP, that comes and goes."""

import base64
import contextlib
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from devservers.takhin import LiveServer

pytestmark = pytest.mark.no_database

USER = {"type": "record", "name": "User", "fields": [{"name": "name", "type": "string"}]}
CONTEXT = SerializationContext("users", MessageField.VALUE)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("registry") / "data").start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, registry: LiveServer) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("gateway") / "data"
    server = LiveServer(folder, SCHEMA_REGISTRY_URL=f"{registry.url}/registry").start()
    server.create_topic("users", 1)
    yield server
    server.stop()


def produce(gateway: LiveServer, body: Any, **parameters: str) -> requests.Response:
    return requests.post(
        f"{gateway.url}/api/topics/users/produce", json=body, params={"value.format": "avro", **parameters}, timeout=30
    )


def inline(schema: Any, *values: Any) -> dict[str, Any]:
    return {"valueSchema": schema, "records": [{"value": value} for value in values]}


def stored(gateway: LiveServer, offset: int) -> bytes:
    answer = gateway.http.get(
        f"{gateway.url}/api/topics/users/messages", params={"partition": 0, "offset": offset, "limit": 1}, timeout=10
    ).json()[0]
    value: str = answer["value"]
    return base64.b64decode(value) if answer["valueEncoding"] == "base64" else value.encode()


def test_it_works(gateway: LiveServer, registry: LiveServer) -> None:
    answer = produce(gateway, inline(USER, {"name": "Ada"}))

    assert answer.status_code == 200, answer.text
    with SchemaRegistryClient({"url": f"{registry.url}/registry"}) as client:
        assert client.get_latest_version("users-value").schema_id == answer.json()["valueSchemaId"]
        read = AvroDeserializer(client)(stored(gateway, answer.json()["offsets"][0]["offset"]), CONTEXT)
    assert read == {"name": "Ada"}


def test_the_serializers_own_bytes_are_decoded_here(gateway: LiveServer, registry: LiveServer) -> None:
    with SchemaRegistryClient({"url": f"{registry.url}/registry"}) as client:
        data = AvroSerializer(client, json.dumps(USER))({"name": "Bob"}, CONTEXT)
    records = [{"value": base64.b64encode(data).decode()}]
    gateway.http.post(
        f"{gateway.url}/api/topics/users/produce?value.format=binary", json={"records": records}, timeout=10
    )

    answer = gateway.http.get(f"{gateway.url}/api/topics/users/messages?offset=-1&decode=true", timeout=10).json()

    assert json.loads(answer[0]["value"]) == {"name": "Bob"}
    assert answer[0]["valueEncoding"] == "avro"


def test_what_the_registry_refuses_is_the_clients_fault(gateway: LiveServer) -> None:
    produce(gateway, inline(USER, {"name": "Ada"}))
    other = {**USER, "fields": [{"name": "number", "type": "long"}]}

    assert produce(gateway, inline(other, {"number": 1})).json()["code"] == "invalid_schema"
    assert produce(gateway, {"records": [{"value": 1}]}, **{"value.schema": "nobody"}).status_code == 404
    assert produce(gateway, {"records": [{"value": 1}]}, **{"value.schema.id": "4711"}).status_code == 404


def test_a_new_version_is_noticed(gateway: LiveServer, registry: LiveServer) -> None:
    """The client's own cache would keep the first latest version for ever."""
    parameters = {"value.schema": "evolving"}
    first = produce(gateway, inline(USER, {"name": "Ada"}), **parameters).json()["valueSchemaId"]
    known = produce(gateway, {"records": [{"value": {"name": "Ada"}}]}, **parameters).json()["valueSchemaId"]
    newer = {**USER, "fields": [*USER["fields"], {"name": "city", "type": "string", "default": ""}]}
    url = f"{registry.url}/registry/subjects/evolving/versions"
    expected = requests.post(url, json={"schema": json.dumps(newer)}, timeout=10).json()["id"]

    pause = threading.Event()
    for _ in range(100):
        found = produce(gateway, {"records": [{"value": {"name": "Ada"}}]}, **parameters).json()["valueSchemaId"]
        if found == expected:
            break
        pause.wait(0.2)

    assert first == known != expected
    assert found == expected


def test_a_registry_that_is_down(tmp_path: Path) -> None:
    """Known schemas go on; what must be asked fails at once with 503; health says degraded, and all recovers."""
    registry = LiveServer(tmp_path / "registry").start()
    gateway = LiveServer(tmp_path / "gateway", SCHEMA_REGISTRY_URL=f"{registry.url}/registry").start()
    gateway.create_topic("users", 1)
    body = inline(USER, {"name": "Ada"})
    assert produce(gateway, body).status_code == 200
    assert produce(gateway, {"records": [{"value": {"name": "Ada"}}]}).status_code == 200
    stopping = threading.Event()
    answers: list[int] = []

    def load() -> None:
        while not stopping.wait(0.02):
            answers.append(produce(gateway, body).status_code)
            answers.append(produce(gateway, {"records": [{"value": {"name": "Ada"}}]}).status_code)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(load)
        stopping.wait(0.5)
        registry.kill()
        stopping.wait(2)
        unknown = produce(gateway, {"records": [{"value": 1}]}, **{"value.schema.id": "4711"})
        asynchronous = produce(gateway, {"records": [{"value": 1}]}, **{"value.schema": "new", "async": "true"})
        plain = gateway.produce("users", [{"value": 1}])
        stopping.wait(1)
        stopping.set()

    ready = requests.get(f"{gateway.url}/api/health/ready", timeout=10)
    assert set(answers) == {200}
    assert plain.status_code == 200
    for refused in (unknown, asynchronous):
        assert refused.status_code == 503
        assert refused.json()["code"] == "registry_unavailable"
        assert refused.json()["retriable"] is True
        assert refused.headers["Retry-After"]
    assert (ready.status_code, ready.json()["degraded"]) == (200, ["schemaRegistry"])

    registry.start()
    for _ in range(50):
        again = produce(gateway, {"records": [{"value": 1}]}, **{"value.schema": "nobody"})
        if again.status_code == 404:
            break
        stopping.clear()
        stopping.wait(0.2)
    recovered = requests.get(f"{gateway.url}/api/health/ready", timeout=10).json()
    gateway.stop()
    registry.stop()
    assert again.status_code == 404
    assert recovered["ready"] is True
    assert "degraded" not in recovered


def test_wrong_credentials_are_our_trouble_and_not_the_clients(tmp_path: Path) -> None:
    registry = LiveServer(tmp_path / "registry", TAKHIN_REQUIRE_API_KEY="true").start()
    secret = registry.manage("create_api_key", "gateway").strip().splitlines()[-1]
    url = f"{registry.url}/registry"
    wrong = LiveServer(tmp_path / "wrong", SCHEMA_REGISTRY_URL=url, SCHEMA_REGISTRY_AUTH="me:wrong").start()
    right = LiveServer(
        tmp_path / "right", SCHEMA_REGISTRY_URL=url, SCHEMA_REGISTRY_KEY="me", SCHEMA_REGISTRY_SECRET=secret
    )
    right.start()
    answers = []
    for gateway in (wrong, right):
        gateway.create_topic("users", 1)
        answers.append(produce(gateway, inline(USER, {"name": "Ada"})).status_code)
        gateway.stop()
    registry.stop()

    assert answers == [503, 200]


def test_a_registry_that_never_answers_holds_up_nobody_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        gateway = LiveServer(tmp_path / "gateway", SCHEMA_REGISTRY_URL=url).start()
        gateway.create_topic("users", 1)
        with ThreadPoolExecutor(20) as pool:
            waiting = [pool.submit(produce, gateway, inline(USER, {"name": "Ada"})) for _ in range(20)]
            plain = gateway.produce("users", [{"value": 1}])
            still_waiting = any(not future.done() for future in waiting)
            refused = [future.result() for future in waiting]
        gateway.stop()

    assert plain.status_code == 200
    assert still_waiting
    assert {answer.status_code for answer in refused} == {503}
    assert {answer.json()["code"] for answer in refused} == {"registry_unavailable"}


class TlsFront(threading.Thread):
    """Takes TLS off in front of a server, as a proxy would; one thread a connection."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(daemon=True)
        self.certificate = folder / "certificate.pem"
        key = folder / "key.pem"
        request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
        files = ["-keyout", str(key), "-out", str(self.certificate)]
        subprocess.run(["openssl", *request.split(), *files], check=True, capture_output=True)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certificate, key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.behind = port
        self.start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # A client that does not trust the certificate hangs up in the handshake.
        with (
            contextlib.suppress(OSError),
            self.context.wrap_socket(connection, server_side=True) as outside,
            socket.create_connection(("127.0.0.1", self.behind)) as inside,
        ):
            back = threading.Thread(target=_copy, args=(inside, outside), daemon=True)
            back.start()
            _copy(outside, inside)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_a_registry_is_trusted_by_its_certificate(tmp_path: Path, registry: LiveServer) -> None:
    front = TlsFront(tmp_path, registry.port)
    url = f"https://127.0.0.1:{front.port}/registry"
    answers = []
    for name, certificate in (("with", str(front.certificate)), ("without", "")):
        gateway = LiveServer(tmp_path / name, SCHEMA_REGISTRY_URL=url, SCHEMA_REGISTRY_CA=certificate).start()
        gateway.create_topic("users", 1)
        answers.append(produce(gateway, inline(USER, {"name": "Ada"})).status_code)
        gateway.stop()
    front.listener.close()

    assert answers == [200, 503]
