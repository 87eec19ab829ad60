"""Registries elsewhere that answer what no registry should: each answer is judged, bounded, and told to the client."""

import base64
import contextlib
import gzip
import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest
import requests

from devservers.takhin import LiveServer

pytestmark = pytest.mark.no_database
MIB = 1024 * 1024
USER = {"type": "record", "name": "User", "fields": [{"name": "name", "type": "string"}]}


class Registry(ThreadingHTTPServer):
    """Answers by path what it is told to; a `(status, body, headers)`, the body as JSON unless it is bytes."""

    # Its threads end with their connections, which the gateway closes when it stops.
    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    server: Registry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        self.server.asked.append(f"{self.command} {path}")
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        status, body, *headers = self.server.answers.get(f"{self.command} {path}", (404, {"error_code": 40403}))
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers[0].items() if headers else ():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        # The other end stops reading what is too long.
        with contextlib.suppress(OSError):
            self.wfile.write(data)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with Registry() as server:
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("gateway") / "data", SCHEMA_REGISTRY_URL=registry.url).start()
    server.create_topic("users", 1)
    yield server
    server.stop()


@pytest.fixture
def new_id(registry: Registry) -> int:
    """An id that no test has used, for the gateway remembers what it was told."""
    registry.answers.clear()
    registry.asked.clear()
    return next(_ids)


_ids = iter(range(1000, 10_000))


def produce(
    gateway: LiveServer, value: Any, body: dict[str, Any] | None = None, **parameters: str
) -> requests.Response:
    """Until the registry is asked again: after an outage nobody asks for two seconds."""
    pause = threading.Event()
    for _ in range(30):
        answer = requests.post(
            f"{gateway.url}/api/topics/users/produce",
            json={"records": [{"value": value}], **(body or {})},
            params={"value.format": "avro", **parameters},
            timeout=60,
        )
        if "a moment ago" not in answer.text:
            return answer
        pause.wait(0.2)
    raise AssertionError(answer.text)


def held(schema: Any, **members: Any) -> tuple[int, Any]:
    return 200, {"schema": json.dumps(schema), **members}


def test_it_works(gateway: LiveServer, registry: Registry, new_id: int) -> None:
    registry.answers[f"GET /schemas/ids/{new_id}"] = held(USER)

    answer = produce(gateway, {"name": "Ada"}, **{"value.schema.id": str(new_id)})

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("kind", ["JSON", "PROTOBUF", "OTHER"])
@pytest.mark.parametrize("how", ["id", "subject", "async", "inline", "referenced"])
def test_another_type_than_avro_is_refused_by_name(
    gateway: LiveServer, registry: Registry, new_id: int, kind: str, how: str
) -> None:
    """It was used as if it were Avro, and wrong bytes were written with 200."""
    # What both Avro and JSON Schema might take.
    text: Any = {"type": "string"}
    registry.answers[f"GET /schemas/ids/{new_id}"] = held(text, schemaType=kind)
    registry.answers["GET /subjects/s/versions/latest"] = held(text, schemaType=kind, id=new_id, version=1, subject="s")
    registry.answers[f"POST /subjects/users{new_id}"] = (200, {"id": new_id, "version": 1, "schema": '"string"'})
    if how == "referenced":
        registry.answers["GET /subjects/ref/versions/1"] = held(text, schemaType=kind, id=new_id + 1, version=1)
        registry.answers[f"GET /schemas/ids/{new_id}"] = held(
            "string", references=[{"name": "x", "subject": "ref", "version": 1}]
        )
    body = {"valueSchema": "string"} if how == "inline" else {}
    parameters = {
        "id": {"value.schema.id": str(new_id)},
        "referenced": {"value.schema.id": str(new_id)},
        "async": {"value.schema.id": str(new_id), "async": "true"},
        "subject": {"value.schema": f"s{new_id}"},
        "inline": {"value.schema": f"users{new_id}"},
    }[how]
    registry.answers[f"GET /subjects/s{new_id}/versions/latest"] = registry.answers["GET /subjects/s/versions/latest"]

    answer = produce(gateway, "text", body, **parameters)

    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "invalid_schema"
    assert f"its type is {kind};" in answer.json()["detail"]


def test_another_type_is_not_decoded_and_says_so(gateway: LiveServer, registry: Registry, new_id: int) -> None:
    registry.answers[f"GET /schemas/ids/{new_id}"] = held({"type": "string"}, schemaType="JSON")
    data = b"\0" + new_id.to_bytes(4, "big") + b"\x02x"
    gateway.http.post(
        f"{gateway.url}/api/topics/users/produce?value.format=binary",
        json={"records": [{"value": base64.b64encode(data).decode()}]},
        timeout=10,
    )

    (shown,) = gateway.http.get(f"{gateway.url}/api/topics/users/messages?offset=-1&decode=true", timeout=10).json()

    assert shown["valueEncoding"] in ("utf-8", "base64")
    assert "its type is JSON;" in shown["valueDecodeError"]


def deep(levels: int) -> str:
    return '{"type":"array","items":' * levels + '"int"' + "}" * levels


def chain(registry: Registry, length: int, *, cyclic: bool = False) -> list[dict[str, Any]]:
    """Schemas that each refer to the next one."""
    for number in range(length):
        following = [{"name": "x", "subject": f"chain{number + 1}", "version": 1}] if number < length - 1 else []
        if cyclic and not following:
            following = [{"name": "x", "subject": "chain0", "version": 1}]
        answer = held({"type": "fixed", "name": f"F{number}", "size": 1}, references=following, id=number, version=1)
        registry.answers[f"GET /subjects/chain{number}/versions/1"] = answer
    return [{"name": "x", "subject": "chain0", "version": 1}]


LARGE = json.dumps({"type": "string", "doc": "x" * (3 * MIB)})
SCHEMAS: dict[str, tuple[Any, str]] = {
    "nested 3,000 deep": ((200, {"schema": deep(3000)}), "nested too"),
    "nested 100,000 deep": ((200, {"schema": deep(30_000)}), "nested too"),
    "no JSON": ((200, {"schema": "{"}), "not valid JSON"),
    "an empty text": ((200, {"schema": ""}), "no text"),
    "no text": ((200, {"id": 5}), "no text"),
    "a large text": ((200, {"schema": LARGE}), "more than"),
    "a text as large as none": ((200, b'{"schema":"' + b"x" * (20 * MIB)), "more than"),
    "a default that does not fit": (
        held({**USER, "fields": [{"name": "name", "type": "string", "default": 5}]}),
        "the default of",
    ),
    "the empty union": (held([]), "no branch"),
    "an unknown type": (held({"type": "x.Nowhere"}), "x.Nowhere"),
}


@pytest.mark.parametrize("mode", ["false", "true"])
@pytest.mark.parametrize(("answer", "said"), SCHEMAS.values(), ids=SCHEMAS)
def test_a_schema_that_cannot_be_used_is_400(
    gateway: LiveServer, registry: Registry, new_id: int, answer: Any, said: str, mode: str
) -> None:
    registry.answers[f"GET /schemas/ids/{new_id}"] = answer

    refused = produce(gateway, "x", **{"value.schema.id": str(new_id), "async": mode})

    assert refused.status_code == 400, refused.text
    assert refused.json()["code"] == "invalid_schema"
    assert said in refused.json()["detail"]


@pytest.mark.parametrize(("length", "cyclic"), [(3, True), (1, True), (102, False)])
def test_references_that_do_not_end(
    gateway: LiveServer, registry: Registry, new_id: int, length: int, cyclic: bool
) -> None:
    references = chain(registry, length, cyclic=cyclic)
    registry.answers[f"GET /schemas/ids/{new_id}"] = held("string", references=references)

    refused = produce(gateway, "x", **{"value.schema.id": str(new_id)})

    assert refused.status_code == 400, refused.text
    assert refused.json()["code"] == "invalid_schema"
    assert ("lead back" if cyclic else "more than 100") in refused.json()["detail"]


def test_each_referenced_schema_is_asked_for_once(gateway: LiveServer, registry: Registry, new_id: int) -> None:
    """Each refers to the two before it: without memory the 22nd took 28,000 questions."""
    for number in range(22):
        before = [{"name": f"F{n}", "subject": f"twice{n}", "version": 1} for n in (number - 1, number - 2) if n >= 0]
        fields = [{"name": name["name"].lower(), "type": name["name"]} for name in before]
        schema = {"type": "record", "name": f"F{number}", "fields": fields}
        registry.answers[f"GET /subjects/twice{number}/versions/1"] = held(schema, references=before, id=1, version=1)
    references = [{"name": "F21", "subject": "twice21", "version": 1}]
    registry.answers[f"GET /schemas/ids/{new_id}"] = held(["null", "F21"], references=references)

    answer = produce(gateway, None, **{"value.schema.id": str(new_id)})

    assert answer.status_code == 200, answer.text
    assert len([path for path in registry.asked if "twice" in path]) == 22


ODD: dict[str, Any] = {
    "a list": (200, []),
    "a number": (200, 5),
    "a string": (200, "schema"),
    "null": (200, None),
    "an empty body": (200, b""),
    "no content": (204, b""),
    "HTML": (200, b"<html>welcome</html>", {"Content-Type": "text/html"}),
    "bytes": (200, b"\xff\xfe"),
    "deep JSON": (200, b"[" * 100_000),
    "a redirect": (302, b"", {"Location": "http://127.0.0.1:9/"}),
    "a permanent redirect": (308, b"", {"Location": "/elsewhere"}),
    "compressed though not asked for": (200, gzip.compress(b"x" * MIB), {"Content-Encoding": "gzip"}),
    "401": (401, {"error_code": 401, "message": "Unauthorized"}),
    "403": (403, {"error_code": 40301, "message": "no"}),
    "405": (405, b"<html>"),
    "407": (407, b""),
    "429": (429, {"message": "slow down"}),
    "500": (500, b"<html>sorry</html>"),
    "502": (502, b""),
    "503": (503, {"error_code": 50001, "message": "store"}),
    "an id that is none": (200, {"schema": '"string"', "id": "x", "version": 1}),
    "a negative id": (200, {"schema": '"string"', "id": -1, "version": 1}),
    "an id too large": (200, {"schema": '"string"', "id": 2**40, "version": 1}),
    "a schema that is no text": (200, {"schema": {"type": "string"}, "id": 7, "version": 1}),
    "a type that is none": (200, {"schema": '"string"', "schemaType": 5, "id": 7, "version": 1}),
    "references that are none": (200, {"schema": '"string"', "references": "x", "id": 7, "version": 1}),
}
# What an answer by id or to a registration need not hold.
ODD_BY_ID = {name: answer for name, answer in ODD.items() if "id" not in name.split()}
ODD_REGISTERED = {name: answer for name, answer in ODD.items() if not re.search("that (is|are)|schema", name)} | {
    "404": (404, {"error_code": 404, "message": "HTTP 404 Not Found"}),
    "404 in HTML": (404, b"<html>"),
    "no id": (200, {"version": 1}),
}


def is_503(answer: requests.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.json()["code"] == "registry_unavailable"
    assert answer.json()["retriable"] is True
    for phrase in ("Traceback", "Error:", "NoneType", "object has no"):
        assert phrase not in answer.text


@pytest.mark.parametrize("answer", ODD_BY_ID.values(), ids=ODD_BY_ID)
def test_an_odd_answer_for_an_id_is_503(gateway: LiveServer, registry: Registry, new_id: int, answer: Any) -> None:
    registry.answers[f"GET /schemas/ids/{new_id}"] = answer

    is_503(produce(gateway, "x", **{"value.schema.id": str(new_id)}))


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD)
def test_an_odd_answer_for_a_subject_is_503(gateway: LiveServer, registry: Registry, new_id: int, answer: Any) -> None:
    registry.answers[f"GET /subjects/s{new_id}/versions/latest"] = answer

    is_503(produce(gateway, "x", **{"value.schema": f"s{new_id}"}))


@pytest.mark.parametrize("answer", ODD_REGISTERED.values(), ids=ODD_REGISTERED)
def test_an_odd_answer_to_a_registration_is_503(
    gateway: LiveServer, registry: Registry, new_id: int, answer: Any
) -> None:
    """A 404, as of a proxy or a wrong path, was an assertion error."""
    registry.answers[f"POST /subjects/s{new_id}/versions"] = answer

    is_503(produce(gateway, "x", {"valueSchema": "string"}, **{"value.schema": f"s{new_id}"}))


@pytest.mark.parametrize("status", [400, 409, 413, 422])
def test_what_it_refuses_is_the_clients_fault(
    gateway: LiveServer, registry: Registry, new_id: int, status: int
) -> None:
    registry.answers[f"POST /subjects/s{new_id}/versions"] = (status, {"error_code": status, "message": "not so"})

    refused = produce(gateway, "x", {"valueSchema": "string"}, **{"value.schema": f"s{new_id}"})

    assert (refused.status_code, refused.json()["code"], refused.json()["detail"]) == (400, "invalid_schema", "not so")


@pytest.mark.parametrize("schema", [[], {"type": "x.Nowhere"}, {**USER, "fields": [{"name": "a", "type": []}]}])
def test_an_unusable_inline_schema_is_not_sent_to_be_registered(
    gateway: LiveServer, registry: Registry, new_id: int, schema: Any
) -> None:
    registry.answers[f"POST /subjects/s{new_id}/versions"] = (200, {"id": new_id})

    refused = produce(gateway, "x", {"valueSchema": schema}, **{"value.schema": f"s{new_id}"})

    assert refused.json()["code"] == "invalid_schema"
    assert f"POST /subjects/s{new_id}/versions" not in registry.asked


def test_a_refusal_stops_nobody_else(gateway: LiveServer, registry: Registry, new_id: int) -> None:
    """One subject that this server may not see made all questions fail for two seconds."""
    registry.answers[f"GET /subjects/s{new_id}/versions/latest"] = (403, {"error_code": 40301, "message": "no"})
    registry.answers[f"GET /schemas/ids/{new_id}"] = held("string")

    is_503(produce(gateway, "x", **{"value.schema": f"s{new_id}"}))
    other = requests.post(
        f"{gateway.url}/api/topics/users/produce?value.format=avro&value.schema.id={new_id}",
        json={"records": [{"value": "x"}]},
        timeout=10,
    )

    assert other.status_code == 200, other.text


def test_an_answer_that_drips_is_given_up(tmp_path_factory: pytest.TempPathFactory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        ended = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not ended.wait(0.5):
                    connection.sendall(b" ")

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        server = LiveServer(tmp_path_factory.mktemp("drip") / "data", SCHEMA_REGISTRY_URL=url).start()
        server.create_topic("users", 1)
        is_503(produce(server, "x", **{"value.schema.id": "1"}))
        ended.set()
        dripping.join()
        server.stop()
