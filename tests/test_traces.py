"""The trace of a client goes on in records, in the log, and in spans that a receiver of OTLP gets."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from devservers import ROOT
from devservers.takhin import LiveServer
from producer.queue.threads import new_worker
from tests.conftest import Api

pytestmark = pytest.mark.usefixtures("no_server_left")
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def headers_of(api: Api, topic: str) -> list[Any]:
    return [message["headers"] for message in api.messages(topic, partition=0)]


@pytest.mark.parametrize("parameters", ["", "&value.format=string", "&async=true"])
def test_the_trace_of_a_request_is_in_its_records(api: Api, settings: Any, parameters: str) -> None:
    settings.TAKHIN_TRACE_HEADERS = True
    api.create_topic("orders", 1)
    own = {"value": "2", "headers": [{"key": "a", "value": "b"}, {"key": "traceparent", "value": "mine"}]}

    answer = api.post(
        f"/api/topics/orders/produce?compression=none{parameters}",
        {"records": [{"value": "1", "headers": [{"key": "a", "value": "b"}]}, own, {"value": "3"}]},
        traceparent=PARENT,
        tracestate="congo=t61rcWkgMzE",
    )
    assert answer.status_code in (200, 202)
    new_worker().work_once()

    trace = [{"key": "traceparent", "value": PARENT}, {"key": "tracestate", "value": "congo=t61rcWkgMzE"}]
    assert headers_of(api, "orders") == [[{"key": "a", "value": "b"}, *trace], own["headers"], trace]


def test_of_several_topics_too(api: Api, settings: Any) -> None:
    settings.TAKHIN_TRACE_HEADERS = True
    for name in ("a", "b"):
        api.create_topic(name, 1)

    api.post("/api/produce", {"records": [{"topic": "a", "value": 1}, {"topic": "b", "value": 1}]}, traceparent=PARENT)

    assert headers_of(api, "a") == headers_of(api, "b") == [[{"key": "traceparent", "value": PARENT}]]


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "nonsense",
        PARENT.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"{PARENT}-more",
        f"00-{TRACE}-{SPAN}",
    ],
)
def test_what_is_no_trace_is_not_copied(api: Api, settings: Any, parent: str) -> None:
    settings.TAKHIN_TRACE_HEADERS = True
    api.create_topic("orders", 1)

    api.post("/api/topics/orders/produce", {"records": [{"value": 1}]}, traceparent=parent, tracestate="a=b")

    assert headers_of(api, "orders") == [[]]


def test_by_default_records_stay_as_they_are(api: Api) -> None:
    api.create_topic("orders", 1)

    api.post("/api/topics/orders/produce", {"records": [{"value": 1}]}, traceparent=PARENT)

    assert headers_of(api, "orders") == [[]]


@pytest.mark.no_database
def test_it_is_always_logged(live: LiveServer) -> None:
    headers = {"traceparent": PARENT, "X-Request-Id": "traced-and-logged"}
    requests.post(f"{live.url}/api/topics/demo/produce", json={"records": [{"value": 1}]}, headers=headers, timeout=10)

    (line,) = [json.loads(line) for line in live.log.read_text().splitlines() if "traced-and-logged" in line]
    assert line["traceparent"] == PARENT


@pytest.mark.no_database
def test_nothing_is_imported_without_its_variables() -> None:
    code = "import django, sys; django.setup(); from core import spans; spans.start(); "
    code += "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    environment = {"DJANGO_SETTINGS_MODULE": "takhin_site.settings", "PATH": "/usr/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )

    assert done.stdout == "[]\n", done.stderr


class Receiver:
    """Accepts spans over OTLP/HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                    values = {one.key: one.value.string_value for one in group.resource.attributes}
                    receiver.services.add(values["service.name"])
                    for scope in group.scope_spans:
                        receiver.spans += scope.spans
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def named(self, name: str) -> list[Any]:
        deadline = time.monotonic() + 30
        while not (found := [span for span in list(self.spans) if span.name == name]):
            assert time.monotonic() < deadline, [span.name for span in self.spans]
            time.sleep(0.05)
        return found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


@pytest.mark.no_database
def test_spans_of_a_request_and_of_its_run_are_linked(tmp_path: Path, receiver: Receiver) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    server = LiveServer(tmp_path / "data", TAKHIN_TRACE_HEADERS="true", **variables).start()
    server.create_topic("orders", 1)
    for query in ("", "?async=true"):
        answer = requests.post(
            f"{server.url}/api/topics/orders/produce{query}",
            json={"records": [{"value": 1}]},
            headers={"traceparent": PARENT},
            timeout=10,
        )
    requests.get(f"{server.url}/api/produce/status/{answer.json()['requestId']}?wait=10", timeout=20)

    trace, parent = bytes.fromhex(TRACE), bytes.fromhex(SPAN)
    run = receiver.named("async run")[0]
    of_trace = [span for span in receiver.named("POST produce") if span.trace_id == trace]
    assert [span.parent_span_id for span in of_trace] == [parent, parent]
    ids = {span.span_id for span in of_trace}
    for name in ("serialize", "append"):
        assert [span for span in receiver.named(name) if span.parent_span_id in ids], name
    assert receiver.named("claim")
    # A run is a trace of its own, because many may share one commit, and links to the request.
    assert [(link.trace_id, link.span_id in ids) for link in run.links] == [(trace, True)]
    assert run.trace_id != trace
    assert receiver.services == {"takhin"}
    # Consumers go on from the server's span.
    values = [message["headers"][0]["value"] for message in server.read("orders", 0)]
    assert {value.split("-")[1] for value in values} == {TRACE}
    assert {bytes.fromhex(value.split("-")[2]) for value in values} == ids
    server.stop()
