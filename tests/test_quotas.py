"""Quotas limit what one API key may send per second, over all processes."""

import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from devservers.takhin import LiveServer
from producer.api import quotas
from producer.models import ApiKey, QuotaUse
from producer.models import quotas as quotas_module
from tests.conftest import Api
from tests.test_keys import make_key

pytestmark = pytest.mark.usefixtures("no_server_left")


FIND = quotas._UsedUp.find


class Clock:
    now = 1_000_000.25

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Clock:
    """The database's clock. Keys are required."""
    clock = Clock()
    monkeypatch.setattr(quotas_module, "_now", clock)
    monkeypatch.setattr(quotas, "_used_up", quotas._UsedUp())
    settings.TAKHIN_REQUIRE_API_KEY = True
    return clock


@pytest.fixture
def topic(api: Api) -> str:
    return api.create_topic("orders", 1)


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the database each time, because its clock is the test's."""
    monkeypatch.setattr(quotas._UsedUp, "find", lambda self, key: None)


def send(api: Api, secret: str, records: int = 1, query: str = "", **headers: str) -> Any:
    body = {"records": [{"value": number} for number in range(records)]}
    return api.post(f"/api/topics/orders/produce{query}", body, Authorization=secret, **headers)


def test_it_works(api: Api, topic: str, clock: Clock) -> None:
    secret = make_key(requests_per_second=2)

    first, second, third = (send(api, secret) for _ in range(3))
    clock.now += 1
    later = send(api, secret)

    assert [answer.status_code for answer in (first, second, third, later)] == [200, 200, 429, 200]
    assert first["RateLimit-Policy"] == '"requests";q=2;w=1'
    assert first["RateLimit"] == '"requests";r=1;t=1'
    assert second["RateLimit"] == '"requests";r=0;t=1'
    assert third.json()["code"] == "quota_exceeded"
    assert third.json()["retriable"] is True
    assert third.json()["detail"] == "this API key may send 2 requests per second"
    assert third["Retry-After"] == "1"
    assert third["RateLimit"] == '"requests";r=0;t=1'
    assert third["RateLimit-Policy"] == first["RateLimit-Policy"]


@pytest.mark.parametrize("query", ["", "?async=true"])
def test_records_and_bytes_have_quotas_of_their_own(api: Api, topic: str, clock: Clock, query: str) -> None:
    few_records, few_bytes = make_key(records_per_second=10), make_key(bytes_per_second=50)

    records = [send(api, few_records, 5, query).status_code for _ in range(3)]
    sizes = [send(api, few_bytes, 1, query).status_code for _ in range(3)]
    last = send(api, few_bytes, 1, query)

    assert records == sizes == ([202, 202, 429] if query else [200, 200, 429])
    assert last["RateLimit-Policy"] == '"bytes";q=50;w=1;qu="content-bytes"'


def test_a_request_larger_than_the_quota_is_paid_back(api: Api, topic: str, clock: Clock) -> None:
    """Otherwise no key could ever send a batch larger than its quota."""
    secret = make_key(records_per_second=10)

    large = send(api, secret, 35)
    clock.now += 1
    second = send(api, secret)
    clock.now += 1.5
    fourth = send(api, secret)
    clock.now += 1
    fifth = send(api, secret)

    assert [answer.status_code for answer in (large, second, fourth, fifth)] == [200, 429, 429, 200]
    assert second["Retry-After"] == "2"


def test_a_key_has_the_servers_quotas_unless_it_has_its_own(api: Api, topic: str, clock: Clock, settings: Any) -> None:
    settings.TAKHIN_REQUESTS_PER_SECOND = 1
    default, more, unlimited = make_key(), make_key(requests_per_second=2), make_key(requests_per_second=0)

    sent = {secret: [send(api, secret).status_code for _ in range(3)] for secret in (default, more, unlimited)}

    assert list(sent.values()) == [[200, 429, 429], [200, 200, 429], [200, 200, 200]]
    assert "RateLimit" not in send(api, unlimited).headers


def test_a_rejected_request_writes_nothing_and_its_retry_may_use_the_same_key(
    api: Api, topic: str, clock: Clock, settings: Any
) -> None:
    secret = make_key(requests_per_second=1)
    send(api, secret)
    rejected = send(api, secret, **{"Idempotency-Key": "k"})
    clock.now += 1
    accepted = send(api, secret, **{"Idempotency-Key": "k"})
    replayed = send(api, secret, **{"Idempotency-Key": "k"})

    assert [answer.status_code for answer in (rejected, accepted, replayed)] == [429, 200, 200]
    assert replayed["Idempotent-Replayed"] == "true"
    settings.TAKHIN_REQUIRE_API_KEY = False
    assert len(api.messages(topic, partition=0)) == 2


def test_a_clock_that_is_set_back_locks_nobody_out(api: Api, topic: str, clock: Clock) -> None:
    secret = make_key(requests_per_second=1)
    send(api, secret)
    clock.now -= 3600

    assert send(api, secret).status_code == 200
    assert send(api, secret).status_code == 429


def test_a_used_up_quota_costs_no_transaction(
    api: Api, topic: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas._UsedUp, "find", FIND)
    make_key(requests_per_second=1)
    key = ApiKey.objects.get()
    first = quotas.take(key, 1, 1)
    before = QuotaUse.objects.values().get()
    with pytest.raises(quotas.QuotaExceeded):
        quotas.take(key, 1, 1)
    with pytest.raises(quotas.QuotaExceeded):
        quotas.check(key)

    assert first["RateLimit-Policy"] == '"requests";q=1;w=1'
    assert QuotaUse.objects.values().get() == before


def test_quotas_are_set_on_the_command_line_and_in_the_admin(
    tmp_path: Path, admin_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_key(name="billing", bytes_per_second=7)
    key = ApiKey.objects.get()
    path = f"/admin/producer/apikey/{key.pk}/change/"
    page = admin_client.get(path).content.decode()
    form = {
        "name": "billing",
        "scopes": ["produce"],
        "topics": "*",
        "requests_per_second": "5",
        "records_per_second": "",
        "bytes_per_second": "0",
    }
    saved = admin_client.post(path, form)
    key.refresh_from_db()

    assert re.search(r'name="bytes_per_second" value="7"', page)
    assert saved.status_code == 302
    assert (key.requests_per_second, key.records_per_second, key.bytes_per_second) == (5, None, 0)
    refused = admin_client.post(path, {**form, "requests_per_second": "-1"})
    assert "greater than or equal to 0" in refused.content.decode()


@pytest.mark.no_database
def test_processes_share_a_quota(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_PROCESSES="2", TAKHIN_REQUIRE_API_KEY="true").start()
    server.manage("create_topic", "orders", "--partitions", "1")
    created = server.manage("create_api_key", "busy", "--requests-per-second", "20", "--records-per-second", "1000")
    secret = created.split()[-1]
    statuses: list[int] = []
    until = time.monotonic() + 4

    def send_until() -> None:
        while time.monotonic() < until:
            # A connection each, so that both processes get some.
            answer = requests.post(
                f"{server.url}/api/topics/orders/produce",
                json={"records": [{"value": 1}]},
                headers={"Authorization": secret},
                timeout=10,
            )
            statuses.append(answer.status_code)
            time.sleep(0.005)

    clients = [threading.Thread(target=send_until) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    server.stop()

    assert set(statuses) == {200, 429}
    # Four seconds, and what is left of a fifth window.
    assert 60 <= statuses.count(200) <= 100
