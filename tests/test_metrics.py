"""Prometheus gets correct numbers of all processes together, with bounded labels and no secrets."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from django.db import connection
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from core.metrics import store, topics
from core.metrics.store import Store
from devservers import free_port
from devservers.mock_kafka import MockCluster
from devservers.takhin import LiveServer
from producer.models import ApiKey
from tests.conftest import Api

pytestmark = pytest.mark.usefixtures("no_server_left")
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(server: LiveServer) -> Samples:
    answer = requests.get(f"{server.url}/metrics", timeout=10)
    assert answer.status_code == 200, answer.text
    return parsed(answer.text)


def total(samples: Samples, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(value for (found, given), value in samples.items() if found == name and wanted <= set(given))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    running = LiveServer(tmp_path / "data", TAKHIN_PROCESSES="2").start()
    yield running
    if running.is_running:
        running.stop()


@pytest.mark.no_database
def test_all_processes_are_counted_together_and_at_once(server: LiveServer) -> None:
    server.create_topic("orders")
    for number in range(30):
        # A new connection each time, so that both processes get some.
        answer = requests.post(
            f"{server.url}/api/topics/orders/produce?compression=gzip",
            json={"records": [{"value": "x" * 500}, {"value": number, "partition": 99}]},
            timeout=10,
        )
        assert answer.status_code == 200
    requests.post(f"{server.url}/api/topics/nowhere/produce", json={"records": [{"value": 1}]}, timeout=10)

    found = scraped(server)

    processes = {dict(labels)["process"] for name, labels in found if name == "takhin_process_threads"}
    assert processes == {"server-0", "server-1"}
    of_orders = {"topic": "orders", "mode": "sync", "status": "200", "code": ""}
    assert total(found, "takhin_produce_requests_total", **of_orders) == 30
    assert total(found, "takhin_records_total", topic="orders", outcome="written") == 30
    assert total(found, "takhin_records_total", topic="orders", outcome="failed") == 30
    assert total(found, "takhin_requests_total", endpoint="produce", code="topic_not_found", status="404") == 1
    assert total(found, "takhin_request_duration_seconds_count", endpoint="produce") == 31
    assert total(found, "takhin_request_duration_seconds_bucket", endpoint="produce", le="+Inf") == 31
    assert total(found, "takhin_append_duration_seconds_count") == 30
    assert total(found, "takhin_serialization_duration_seconds_count") == 30
    plain, stored = (total(found, f"takhin_{what}_bytes_total", codec="gzip") for what in ("record", "stored"))
    assert plain > 15_000 > stored > 0
    assert total(found, "takhin_commit_group_size_sum") >= 31
    assert total(found, "takhin_workers") == 1
    assert total(found, "takhin_build_info", log="embedded") == 1
    if connection.vendor == "sqlite":
        assert total(found, "takhin_free_disk_bytes") > 0


def seen(server: LiveServer, name: str) -> dict[str, int]:
    """How many series of this name each process has, once both have some."""
    deadline = time.monotonic() + 20
    while True:
        labels = [dict(given) for found, given in scraped(server) if found == name]
        if len({one["process"] for one in labels}) == 2 or time.monotonic() > deadline:
            return dict(Counter(one["process"] for one in labels))
        time.sleep(0.1)


@pytest.mark.no_database
def test_any_process_shows_the_cluster_connections_of_all(tmp_path: Path) -> None:
    with MockCluster() as mock:
        kafka = {"TAKHIN_LOG": "kafka", "KAFKA_BOOTSTRAP_SERVERS": mock.bootstrap, "TAKHIN_PROCESSES": "2"}
        server = LiveServer(tmp_path / "data", **kafka).start()
        try:
            each = {"server-0": 1, "server-1": 1}
            for name in ("breaker_open", "partition_breakers_open", "queue_records", "queue_bytes"):
                # Scraped several times, so that both respond.
                assert [seen(server, f"takhin_kafka_{name}") for _ in range(5)] == [each] * 5
        finally:
            server.stop()


@pytest.mark.no_database
def test_a_dead_process_leaves_its_counts_to_the_others(server: LiveServer) -> None:
    server.create_topic("orders")
    for _ in range(20):
        requests.post(f"{server.url}/api/topics/orders/produce", json={"records": [{"value": 1}]}, timeout=10)
    assert total(scraped(server), "takhin_records_total", outcome="written") == 20

    for child in server.process_ids()[1:]:
        os.kill(child, signal.SIGKILL)
        server.wait_until_ready()
        time.sleep(1)
        assert total(scraped(server), "takhin_records_total", outcome="written") == 20

    requests.post(f"{server.url}/api/topics/orders/produce", json={"records": [{"value": 1}]}, timeout=10)
    assert total(scraped(server), "takhin_records_total", outcome="written") == 21


@pytest.mark.no_database
def test_a_worker_of_its_own_is_counted_too(tmp_path: Path) -> None:
    port = str(free_port())
    server = LiveServer(tmp_path / "data", TAKHIN_WORKERS="0").start()
    server.create_topic("orders")
    given = [server.produce("orders", [{"value": 1}], **{"async": "true"}).json()["requestId"] for _ in range(5)]
    assert total(scraped(server), "takhin_pending_requests") == 5

    environment = {**server.environment, "TAKHIN_METRICS_PORT": port}
    worker = subprocess.Popen(server.command("run_produce_worker"), cwd=server.root, env=environment)
    for request_id in given:
        requests.get(f"{server.url}/api/produce/status/{request_id}?wait=20", timeout=30)

    for text in (
        requests.get(f"{server.url}/metrics", timeout=10).text,
        requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text,
    ):
        found = parsed(text)
        assert total(found, "takhin_async_requests_total", status="completed") == 5
        assert total(found, "takhin_async_completion_seconds_count") == 5
        assert total(found, "takhin_async_attempts_total", ending="written") == 5
        assert total(found, "takhin_records_total", topic="orders", outcome="written") == 5
        assert total(found, "takhin_pending_requests") == 0
        assert total(found, "takhin_workers") == 1
    worker.terminate()
    assert worker.wait(20) == 0
    server.stop()


def test_prometheus_and_openmetrics_are_negotiated(api: Api, topic: str) -> None:
    api.produce(topic, [{"value": 1}])

    plain = api.get("/metrics")
    modern = api.get("/metrics", Accept="application/openmetrics-text; version=1.0.0,text/plain;version=0.0.4;q=0.5")

    assert plain["Content-Type"].startswith("text/plain; version=")
    assert modern["Content-Type"].startswith("application/openmetrics-text")
    assert modern.content.endswith(b"# EOF\n")
    names = {family.name for family in openmetrics.text_string_to_metric_families(modern.content.decode())}
    assert {"takhin_produce_requests", "takhin_append_duration_seconds", "takhin_build_info"} <= names
    assert names == {name for name in names if name.startswith("takhin_")}


def test_metrics_need_a_key_with_their_scope(api: Api, settings: Any) -> None:
    settings.TAKHIN_REQUIRE_API_KEY = True
    answers = {}
    for scopes in ("metrics", "produce,read,manage,schemas"):
        key = ApiKey(name=scopes, scopes=scopes)
        secret = key.issue_secret()
        key.save()
        answers[scopes] = api.get("/metrics", Authorization=f"Bearer {secret}").status_code

    assert answers == {"metrics": 200, "produce,read,manage,schemas": 403}
    assert api.get("/metrics").status_code == 401


def test_topics_beyond_the_limit_are_counted_together(api: Api, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_known", set())
    settings.TAKHIN_METRICS_TOPICS = 2
    names = [api.create_topic(f"limited-{number}", 1) for number in range(5)]
    for name in names:
        api.produce(name, [{"value": 1}])
        api.produce(f"missing-{name}", [{"value": 1}])

    found = parsed(api.get("/metrics").content.decode())

    labels = {dict(given)["topic"] for name, given in found if name == "takhin_records_total"}
    assert {"limited-0", "limited-1", "other"} <= labels
    assert not labels & {"limited-2", "limited-3", "limited-4"}
    assert not [label for label in labels if "missing" in label]


def test_no_secret_record_or_address_is_shown(api: Api, topic: str, settings: Any) -> None:
    key = ApiKey(name="k")
    secret = key.issue_secret()
    key.save()
    settings.TAKHIN_REQUIRE_API_KEY = True
    api.post(
        f"/api/topics/{topic}/produce",
        {"records": [{"key": "customer-4711", "value": "confidential"}]},
        **{"Authorization": f"Bearer {secret}", "Content-Encoding": "made-up", "X-Request-Id": "trace-me"},
    )
    settings.TAKHIN_REQUIRE_API_KEY = False

    text = api.get("/metrics").content.decode()

    for hidden in (secret, key.prefix, "customer-4711", "confidential", "made-up", "trace-me", "127.0.0.1"):
        assert hidden not in text, hidden


def test_names_follow_the_conventions(api: Api, topic: str) -> None:
    api.produce(topic, [{"value": 1}])

    for family in text_string_to_metric_families(api.get("/metrics").content.decode()):
        assert family.documentation.endswith("."), family.name
        assert re.fullmatch(r"takhin_[a-z_]+", family.name)
        assert not re.search(r"_(ms|milliseconds|kb|minutes)\b", family.name), family.name
        for sample in family.samples:
            if family.type == "counter":
                assert sample.name.endswith("_total"), sample.name


# The memory that processes share


@pytest.mark.no_database
def test_series_without_room_are_left_out_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_VALUES", 100)
    found = Store()
    indexes = [found.allocate(("m", str(number)), 10) for number in range(10)]

    assert indexes[:4] == [64, 74, 84, 0]
    assert found.allocate(("m", "0"), 10) == 64


@pytest.mark.no_database
def test_counts_of_threads_are_all_there(tmp_path: Path) -> None:
    code = """
import sys, threading
from pathlib import Path
import django
from django.conf import settings
settings.configure(TAKHIN_DATA_DIR=sys.argv[1], TAKHIN_METRICS_TOPICS=5)
from core.metrics import Counter, Histogram, share, store, totals
counter, histogram = Counter("c_total", "C.", ["l"]), Histogram("h", "H.", (1, 2))
counter.add("a")
share()
def run():
    for number in range(5000):
        counter.add("a"); histogram.observe(number % 3)
threads = [threading.Thread(target=run) for _ in range(8)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
found = totals()
assert found["c_total", "a"] == [40001.0], found
assert sum(found["h",][:3]) == 40000 and found["h",][3] == 8 * sum(n % 3 for n in range(5000)), found
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.no_database
def test_a_folder_that_cannot_be_written_does_not_stop_the_server(tmp_path: Path) -> None:
    (tmp_path / "metrics").write_text("in the way")
    found = Store()
    index = found.allocate(("m",), 1)
    found.share(tmp_path / "metrics")
    found.values[index] += 1

    assert found.totals() == {("m",): [1.0]}
