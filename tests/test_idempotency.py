"""A retry with the same Idempotency-Key returns the first response and writes nothing."""

import gzip
import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.management import call_command
from django.db.models.functions import Now

from core.errors import StorageUnavailable
from devservers.takhin import LiveServer
from producer.api import idempotency
from producer.models import IdempotencyKey, ProduceRequest, new_request_id
from producer.queue import housekeeping
from producer.queue.threads import new_worker
from tests.conftest import Api
from tests.test_keys import make_key
from topics.log import current_log

pytestmark = pytest.mark.usefixtures("no_server_left")


def send(api: Api, topic: str, records: Any, key: str = "k-1", query: str = "", **headers: str) -> Any:
    body = records if isinstance(records, bytes) else {"records": records}
    return api.post(f"/api/topics/{topic}/produce{query}", body, **{"Idempotency-Key": key, **headers})


def stored(api: Api, topic: str) -> int:
    return sum(partition["highWaterMark"] for partition in api.get(f"/api/topics/{topic}").json()["partitions"])


def test_a_retry_returns_the_first_response_and_writes_nothing(api: Api, topic: str) -> None:
    first = send(api, topic, [{"key": "a", "value": 1}, {"value": 2}])
    again = send(api, topic, [{"key": "a", "value": 1}, {"value": 2}])

    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert "Idempotent-Replayed" not in first.headers
    assert again["Idempotent-Replayed"] == "true"
    assert stored(api, topic) == 2
    assert send(api, topic, [{"key": "a", "value": 1}, {"value": 2}], key="k-2").status_code == 200
    assert stored(api, topic) == 4


def test_an_async_retry_returns_the_same_request(api: Api, topic: str) -> None:
    first = send(api, topic, [{"value": 1}], query="?async=true")
    pending = send(api, topic, [{"value": 1}], query="?async=true")
    new_worker().work_once()
    finished = send(api, topic, [{"value": 1}], query="?async=true")

    assert first.status_code == pending.status_code == finished.status_code == 202
    assert first.json() == pending.json() == finished.json()
    assert pending["Location"] == first["Location"]
    assert pending["Idempotent-Replayed"] == finished["Idempotent-Replayed"] == "true"
    assert ProduceRequest.objects.count() == stored(api, topic) == 1


@pytest.mark.parametrize(
    ("records", "query", "headers"),
    [
        ([{"value": 2}], "", {}),
        ([{"value": 1}], "?compression=gzip", {}),
        ([{"value": 1}], "?async=true", {}),
        ([{"value": 1}], "", {"Prefer": "respond-async"}),
        ([{"value": 1}, {"value": 1}], "", {}),
    ],
)
def test_another_request_with_a_used_key_is_rejected(
    api: Api, topic: str, records: list[Any], query: str, headers: dict[str, str]
) -> None:
    send(api, topic, [{"value": 1}])

    answer = send(api, topic, records, query=query, **headers)

    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency_key_reused"
    assert answer.json()["retriable"] is False
    assert stored(api, topic) == 1


def test_a_key_is_for_one_topic_and_one_content_type(api: Api, topic: str) -> None:
    api.create_topic("others")
    send(api, topic, b'{"value":1}', **{"Content-Type": "application/x-ndjson"})

    assert send(api, "others", [{"value": 1}]).json()["code"] == "idempotency_key_reused"
    assert stored(api, "others") == 0


def test_the_same_request_may_be_sent_differently(api: Api, topic: str) -> None:
    body = b'{"records":[{"value":1}]}'
    first = send(api, topic, body, query="?compression=gzip&strict=true")

    again = send(
        api, topic, gzip.compress(body), '"k-1"', "?strict=true&compression=gzip", **{"Content-Encoding": "gzip"}
    )

    assert again.json() == first.json()
    assert again["Idempotent-Replayed"] == "true"
    assert stored(api, topic) == 1


@pytest.mark.parametrize("key", ["", '""', "two words", "k" * 256, "schlüssel", "tab\there", '" "'])
def test_an_invalid_key_is_rejected(api: Api, topic: str, key: str) -> None:
    answer = send(api, topic, [{"value": 1}], key)

    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_idempotency_key"
    assert stored(api, topic) == 0


@pytest.mark.parametrize("key", ["k" * 255, "8e03978e-40d5-43dd-bc93-6894a57f9324", "!~", '"', 'a"b', "a:b,c;d"])
def test_any_visible_characters_make_a_key(api: Api, topic: str, key: str) -> None:
    first, again = (send(api, topic, [{"value": 1}], key) for _ in range(2))

    assert first.json() == again.json()
    assert again["Idempotent-Replayed"] == "true"


def test_a_key_belongs_to_its_api_key(api: Api, topic: str, settings: Any) -> None:
    settings.TAKHIN_REQUIRE_API_KEY = True
    mine, theirs = make_key(name="mine"), make_key(name="theirs")

    answers = [send(api, topic, [{"value": 1}], Authorization=secret) for secret in (mine, theirs, mine)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert [answer.get("Idempotent-Replayed") for answer in answers] == [None, None, "true"]
    assert send(api, topic, [{"value": 2}], Authorization=theirs).status_code == 422
    settings.TAKHIN_REQUIRE_API_KEY = False
    assert stored(api, topic) == 2


@pytest.mark.parametrize(
    ("records", "query", "status"),
    [
        (b"{", "", 400),
        ([{"value": 1}], "?nonsense=1", 400),
        ([{"value": "?"}], "?value.format=binary", 422),
        ([{"value": "AA=="}, {"value": "?"}], "?value.format=binary&strict=true", 422),
        ([{"value": 1}], "?value.format=avro&value.schema=absent", 404),
    ],
)
def test_a_request_that_wrote_nothing_leaves_its_key_free(
    api: Api, topic: str, records: Any, query: str, status: int
) -> None:
    assert send(api, topic, records, query=query).status_code == status

    answer = send(api, topic, [{"value": 1}])

    assert answer.status_code == 200
    assert "Idempotent-Replayed" not in answer.headers


def test_a_log_that_was_unavailable_leaves_the_key_free(api: Api, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: Any, **__: Any) -> None:
        raise StorageUnavailable("the disk is away")

    with monkeypatch.context() as patch:
        patch.setattr(current_log(), "append", down)
        assert send(api, topic, [{"value": 1}]).status_code == 503

    assert send(api, topic, [{"value": 1}]).status_code == 200
    assert stored(api, topic) == 1


def test_a_request_that_wrote_some_records_uses_its_key(api: Api, topic: str) -> None:
    records = [{"value": "AA=="}, {"value": "?"}]
    first, again = (send(api, topic, records, query="?value.format=binary") for _ in range(2))

    assert first.status_code == again.status_code == 200
    assert again.json() == first.json()
    assert again.json()["offsets"][1]["code"] == "serialization_failed"
    assert stored(api, topic) == 1


def test_a_key_in_use_is_409(api: Api, topic: str) -> None:
    with idempotency.in_use(idempotency.NewKey("0:k-1", "")):
        answer = send(api, topic, [{"value": 1}])

    assert answer.status_code == 409
    assert answer.json()["code"] == "idempotency_key_in_use"
    assert answer.json()["retriable"] is True
    assert answer["Retry-After"] == "1"
    assert send(api, topic, [{"value": 1}]).status_code == 200


@pytest.mark.parametrize("query", ["", "?async=true"])
def test_a_twin_in_another_process_wins_or_loses_as_a_whole(
    api: Api, topic: str, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    """Both find the key free, as two processes may at the same time."""
    first = send(api, topic, [{"value": 1}], query=query)
    find, calls = idempotency.find, iter([True])
    monkeypatch.setattr(idempotency, "find", lambda key: None if next(calls, False) else find(key))

    second = send(api, topic, [{"value": 1}], query=query)

    assert second.json() == first.json()
    assert second["Idempotent-Replayed"] == "true"
    assert ProduceRequest.objects.count() == 1
    assert stored(api, topic) == (0 if query else 1)


def test_keys_outlive_requests_and_are_purged_after_their_own_time(api: Api, topic: str) -> None:
    first = send(api, topic, [{"value": 1}])
    send(api, topic, [{"value": 1}], key="pending", query="?async=true")
    ProduceRequest.objects.filter(status="completed").update(
        id=new_request_id("0" * 32), completed_at=Now() - timedelta(hours=1)
    )
    IdempotencyKey.objects.update(created_at=Now() - timedelta(hours=23))
    call_command("purge_produce_requests")

    assert ProduceRequest.objects.count() == 1
    assert send(api, topic, [{"value": 1}]).json() == first.json()

    IdempotencyKey.objects.update(created_at=Now() - timedelta(hours=25))
    assert housekeeping.purge_keys() == 1
    assert [key.text for key in IdempotencyKey.objects.all()] == ["pending"]
    assert "Idempotent-Replayed" not in send(api, topic, [{"value": 1}]).headers


def test_keys_are_purged_in_steps(api: Api, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "PURGE_STEP", 2)
    for number in range(5):
        send(api, topic, [{"value": number}], key=f"k-{number}")
    IdempotencyKey.objects.update(created_at=Now() - timedelta(hours=25))
    send(api, topic, [{"value": 5}], key="k-5")

    assert housekeeping.purge_keys() == 5
    assert [key.text for key in IdempotencyKey.objects.all()] == ["k-5"]


def test_a_request_that_is_not_tracked_can_be_retried_too(api: Api, topic: str, settings: Any) -> None:
    settings.TAKHIN_TRACK_SYNC = "failed"
    first, again = (send(api, topic, [{"value": 1}]) for _ in range(2))

    assert first.json() == again.json()
    assert not ProduceRequest.objects.exists()
    assert stored(api, topic) == 1


def test_the_admin_finds_a_request_by_its_key(api: Api, topic: str, admin_client: Any) -> None:
    send(api, topic, [{"value": 1}], key="order-1042")
    send(api, topic, [{"value": 2}], key="1042")
    found = ProduceRequest.objects.order_by("id").first()
    assert found is not None

    listed = admin_client.get("/admin/producer/producerequest/?q=order-1042").content.decode()
    page = admin_client.get(f"/admin/producer/producerequest/{found.pk}/change/").content.decode()

    assert "1 produce request" in listed
    assert found.pk in listed
    assert "order-1042" in page


@pytest.mark.no_database
def test_many_twins_write_once(tmp_path: Path) -> None:
    """Over two processes; a twin gets the first one's response, or 409 and then that response."""
    server = LiveServer(tmp_path / "data", TAKHIN_PROCESSES="2").start()
    server.create_topic("twins", 3)
    answers: dict[str, list[Any]] = {}

    def retry(key: str) -> None:
        with requests.Session() as http:
            for _ in range(50):
                answer = http.post(
                    f"{server.url}/api/topics/twins/produce",
                    json={"records": [{"value": key}]},
                    headers={"Idempotency-Key": key},
                    timeout=20,
                )
                if answer.status_code != 409:
                    break
                threading.Event().wait(0.05)
            answers[key].append((answer.status_code, json.dumps(answer.json())))

    for number in range(25):
        key = f"key-{number}"
        answers[key] = []
        twins = [threading.Thread(target=retry, args=[key]) for _ in range(8)]
        for twin in twins:
            twin.start()
        for twin in twins:
            twin.join()
    values = [record["value"] for partition in range(3) for record in server.read("twins", partition)]
    server.stop()

    assert sorted(values) == sorted(f'"{key}"' for key in answers)
    for found in answers.values():
        assert len(found) == 8
        assert {status for status, _ in found} == {200}
        assert len({body for _, body in found}) == 1
