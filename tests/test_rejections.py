"""What was rejected can be found, and is counted; what workers do not do is noticed."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client

from core import reads, rejections, rollups
from core.models import AuditEntry, Rejection, Rollup
from devservers.takhin import LiveServer
from producer.models import ApiKey, Heartbeat, ProduceRequest
from producer.queue import backlog
from producer.queue.threads import new_worker
from tests.conftest import Api
from tests.test_purge import make_older


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    rejections.current = rejections.Rejections()
    reads.current = reads.Reads()


@pytest.fixture
def key(settings: Any) -> tuple[ApiKey, str]:
    settings.TAKHIN_REQUIRE_API_KEY = True
    found = ApiKey(name="k", scopes="produce", topics="orders")
    secret = found.issue_secret()
    found.save()
    return found, secret


def test_a_rejected_request_is_found_by_its_id(api: Api, key: tuple[ApiKey, str]) -> None:
    headers = {"Authorization": f"Bearer {key[1]}", "X-Request-Id": "order-4711"}
    assert api.post("/api/topics/secret/produce", {"records": [{"value": "hidden"}]}, **headers).status_code == 403

    rejections.current.save()

    (found,) = Rejection.objects.filter(request_id="order-4711")
    assert (found.status, found.code, found.key) == (403, "topic_not_allowed", key[0].prefix)
    assert (found.method, found.path) == ("POST", "/api/topics/secret/produce")
    assert "may not use topic secret" in found.detail
    assert "hidden" not in str(vars(found))
    browser = Client()
    browser.force_login(User.objects.create_superuser("admin", password="correct horse battery"))
    page = browser.get("/admin/core/rejection/", {"q": "order-4711"}).content.decode()
    assert "topic_not_allowed" in page
    assert "1 rejection" in page


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/api/topics/orders/produce", b"{", "invalid_request_body"),
        ("/api/topics/orders/produce?x=1", b"{}", "invalid_parameter"),
        ("/api/topics/nowhere/produce", b"{}", "topic_not_found"),
        ("/api/nothing", b"", "not_found"),
        ("/registry/subjects/x/versions", b'{"schema":"["}', "42201"),
        ("/api/topics/orders/produce", b'{"records":[{"value":1,"partition":99}]}', "no_record_written"),
    ],
)
def test_every_kind_of_4xx_leaves_a_trace(api: Api, path: str, body: bytes, code: str) -> None:
    api.create_topic("orders")

    answer = api.post(path, body, **{"X-Request-Id": "mine"})

    assert 400 <= answer.status_code < 500
    rejections.current.save()
    assert Rejection.objects.get(request_id="mine").code == code


def test_only_the_last_thousand_are_kept(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejections, "MOST_KEPT", 10)
    for number in range(25):
        api.get(f"/api/nothing/{number}")
        if number % 3 == 0:
            rejections.current.save()
    rejections.current.save()

    assert [row.path for row in Rejection.objects.order_by("id")] == [f"/api/nothing/{n}" for n in range(15, 25)]


def test_rejections_are_counted_in_the_audit_log(api: Api, key: tuple[ApiKey, str]) -> None:
    for _ in range(3):
        api.post("/api/topics/secret/produce", b"{}", Authorization=f"Bearer {key[1]}")
    api.post("/api/topics/orders/produce", b"{}", Authorization="Bearer wrong")

    rejections.current.audit()
    rejections.current.audit()

    entries = AuditEntry.objects.filter(event="requests_rejected")
    found = {(entry.name, entry.read_details()["code"], entry.read_details()["count"]) for entry in entries}
    assert found == {(key[0].prefix, "topic_not_allowed", 3), ("", "invalid_api_key", 1)}


def test_reads_are_summed_up_in_the_audit_log(api: Api, topic: str) -> None:
    api.produce(topic, [{"value": "secret", "partition": partition} for partition in (0, 0, 0, 1)])
    for query in ("partition=0&offset=1&limit=1", "partition=0&offset=2", "", "partition=2"):
        api.get(f"/api/topics/{topic}/messages?{query}")

    reads.current.audit()
    reads.current.audit()

    (entry,) = AuditEntry.objects.filter(event="payload_viewed")
    assert (entry.actor, entry.client, entry.kind, entry.name) == ("anonymous", "127.0.0.1", "topic", topic)
    assert entry.read_details() == {"records": 6, "offsets": {"0": [0, 2], "1": [0, 0]}}


def test_many_readers_are_summed_up_together(api: Api, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "MOST_COUNTED", 2)
    api.produce(topic, [{"value": 1, "partition": 0}])
    for number in range(5):
        api.client.get(f"/api/topics/{topic}/messages", REMOTE_ADDR=f"192.0.2.{number}")

    reads.current.audit()

    entries = AuditEntry.objects.filter(event="payload_viewed")
    found = {(entry.actor, entry.client, entry.read_details()["records"]) for entry in entries}
    assert found == {("anonymous", "192.0.2.0", 1), ("anonymous", "192.0.2.1", 1), ("others", "", 3)}


def test_minutes_are_summed_up_once(api: Api, topic: str) -> None:
    summer = rollups.Summer()
    summer.save()
    Rollup.objects.all().delete()
    api.produce(topic, [{"value": 1}, {"value": 2}, {"value": 3, "partition": 99}])
    api.produce(topic, [{"value": 1, "partition": 99}])

    summer.save()
    summer.save()

    for step in rollups.STEPS:
        rows = Rollup.objects.filter(step=step)
        found = {(row.metric, row.topic, row.label): row.value for row in rows if row.metric in ("requests", "records")}
        assert found == {
            (metric, name, label): value
            for name in ("", topic)
            for metric, label, value in (
                ("requests", "", 1),
                ("requests", "no_record_written", 1),
                ("records", "written", 2),
                ("records", "failed", 2),
            )
        }
        assert sum(row.value for row in rows if row.metric == "latency") == 2
        minutes = {row.minute for row in rows}
        assert all(minute % step == 0 and time.time() / 60 - minute < step + 1 for minute in minutes)


def test_old_sums_are_deleted() -> None:
    now = int(time.time() // 60)
    for step, kept in rollups.STEPS.items():
        for age in (kept - step, kept + 2 * step):
            Rollup.objects.create(step=step, minute=now - age, metric="requests", topic="", label="", value=1)

    assert rollups.purge() == 2
    assert {now - row.minute for row in Rollup.objects.all()} == {179, 26 * 60 - 15}


# Workers


def test_nobody_working_is_noticed(api: Api, topic: str) -> None:
    answer = api.produce(topic, [{"value": 1}], async_="true")
    assert backlog.trouble() is None

    make_older(answer.json()["requestId"], timedelta(seconds=70))

    assert backlog.trouble() == "no worker is running, and 1 request is pending, the oldest for 70 seconds"
    Heartbeat.objects.beat("worker")
    assert backlog.trouble() is None
    Heartbeat.objects.update(seen_at=Now() - timedelta(seconds=50))
    assert "no worker is running" in str(backlog.trouble())


def test_a_request_that_waits_too_long_is_noticed(api: Api, topic: str) -> None:
    answer = api.produce(topic, [{"value": 1}], async_="true")
    Heartbeat.objects.beat("worker")
    make_older(answer.json()["requestId"], timedelta(minutes=6))

    expected = "the oldest pending request has waited 6 minutes; the limit is 5 minutes (TAKHIN_MAX_PENDING_AGE)"
    assert backlog.trouble() == expected
    new_worker().work_once()
    assert ProduceRequest.objects.get().is_finished
    assert backlog.trouble() is None


@pytest.mark.no_database
@pytest.mark.usefixtures("no_server_left")
def test_health_says_that_nobody_works_and_requests_still_succeed(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_WORKERS="0").start()
    server.create_topic("orders")
    server.produce("orders", [{"value": 1}], **{"async": "true"})
    deadline = time.monotonic() + 30
    while (health := requests.get(f"{server.url}/api/health", timeout=10)).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.5)

    assert "no worker is running, and 1 request is pending" in health.json()["reasons"]["backlog"]
    ready = requests.get(f"{server.url}/api/health/ready", timeout=10)
    assert (ready.status_code, ready.json()["degraded"]) == (200, ["backlog"])
    assert "no worker is running" in ready.json()["reasons"]["backlog"]
    assert server.produce("orders", [{"value": 1}]).status_code == 200
    server.stop()


@pytest.mark.no_database
@pytest.mark.usefixtures("no_server_left")
def test_a_worker_beats_while_it_works_and_says_goodbye(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data").start()
    text = requests.get(f"{server.url}/metrics", timeout=10).text
    assert "\ntakhin_workers 1.0\n" in text
    server.stop()

    server.environment["TAKHIN_WORKERS"] = "0"
    server.start()
    text = requests.get(f"{server.url}/metrics", timeout=10).text
    assert "\ntakhin_workers 0.0\n" in text
    server.stop()
