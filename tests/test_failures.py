"""Failures are kept and can be found, and a retry writes only the missing records, once."""

import html
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models.functions import Now
from django.test import Client
from structlog.testing import capture_logs

from core.database import transactions
from core.models import AuditEntry
from producer.models import ApiKey, IdempotencyKey, NotRetried, ProduceRequest, Status
from producer.models.attempts import MOST_KEPT, attempts_in, with_attempt
from producer.queue import housekeeping
from producer.queue.endings import Ending, end
from producer.queue.threads import new_worker
from tests.conftest import Api
from tests.test_admin import REQUESTS, _detail, _staff, _text, admin, confirm, finished_change
from tests.test_purge import make_older
from topics.log.errors import TopicNotFound

__all__ = ["admin"]
FAILURES = f"{REQUESTS}failures/"


def submit(api: Api, topic: str, records: list[Any] | bytes, **parameters: str) -> ProduceRequest:
    """Accept a request and let a worker try it."""
    answer = api.produce(topic, records, async_="true", **parameters)
    assert answer.status_code == 202, answer.content
    new_worker().work_once()
    return ProduceRequest.objects.get(pk=answer.json()["requestId"])


def retried(row: ProduceRequest) -> ProduceRequest:
    transactions.commit(lambda: ProduceRequest.objects.get(pk=row.pk).retry("ada"))
    new_worker().work_once()
    return ProduceRequest.objects.get(pk=row.pk)


def status(api: Api, row: ProduceRequest) -> Any:
    return api.get(f"/api/produce/status/{row.pk}").json()


# Status


def test_cancelled_is_not_failed_to_operators_and_failed_to_clients(api: Api, topic: str) -> None:
    answer = api.produce(topic, [{"value": 1}], async_="true")
    row = ProduceRequest.objects.get(pk=answer.json()["requestId"])

    assert transactions.commit(row.cancel)

    assert ProduceRequest.objects.get().status == Status.CANCELLED
    found = status(api, row)
    assert (found["status"], found["code"], found["error"]) == ("failed", "cancelled", "cancelled")


def test_a_request_with_failed_records_is_partial_to_operators_and_completed_to_clients(api: Api, topic: str) -> None:
    row = submit(api, topic, [{"value": 1}, {"value": 2, "partition": 99}])

    assert (row.status, row.code) == (Status.PARTIAL, "unknown_partition")
    assert row.error.startswith("record 1: ")
    assert status(api, row)["status"] == "completed"
    assert "error" not in status(api, row)


def test_a_failed_request_tells_its_code(api: Api, topic: str) -> None:
    row = submit(api, topic, [{"value": {"a": 1}}], value_format="string")

    assert status(api, row)["code"] == "serialization_failed"


# How long failures are kept


@pytest.mark.parametrize(
    ("records", "age", "is_kept"),
    [
        ([{"value": 1}], timedelta(hours=1), False),
        ([{"value": 1, "partition": 99}], timedelta(days=6), True),
        ([{"value": 1, "partition": 99}], timedelta(days=8), False),
        ([{"value": 1}, {"value": 2, "partition": 99}], timedelta(days=6), True),
        ([{"value": 1}, {"value": 2, "partition": 99}], timedelta(days=8), False),
    ],
)
def test_failures_outlive_successes(api: Api, topic: str, records: list[Any], age: timedelta, is_kept: bool) -> None:
    row = submit(api, topic, records)
    make_older(row.pk, age, completed_at=Now() - age)

    call_command("purge_produce_requests")

    assert ProduceRequest.objects.exists() is is_kept


def test_failed_sync_requests_and_cancelled_ones_do_not(api: Api, topic: str) -> None:
    api.produce(topic, [{"value": 1, "partition": 99}])
    api.produce(topic, [{"value": 1}], async_="true")
    cancelled = ProduceRequest.objects.get(mode="async")
    transactions.commit(cancelled.cancel)
    for row in ProduceRequest.objects.all():
        make_older(row.pk, timedelta(hours=1), completed_at=Now() - timedelta(hours=1))

    call_command("purge_produce_requests")

    assert not ProduceRequest.objects.exists()


def test_the_oldest_failures_go_first_if_they_take_too_much_room(api: Api, topic: str, settings: Any) -> None:
    rows = [submit(api, topic, [{"value": "x" * 200, "partition": 99}]) for _ in range(3)]
    size = len(rows[0].read_body())
    settings.TAKHIN_MAX_FAILURE_BYTES = most = 2 * size

    with capture_logs() as lines:
        assert housekeeping.purge_excess_failures() == 1
        assert housekeeping.purge_excess_failures() == 0

    assert set(ProduceRequest.objects.values_list("pk", flat=True)) == {row.pk for row in rows[1:]}
    assert lines == [{"event": "failures_purged_early", "bytes": most, "log_level": "warning"}]


def test_an_id_that_is_gone_tells_when_it_was_made(api: Api, topic: str) -> None:
    row = submit(api, topic, [{"value": 1}])
    gone = make_older(row.pk, timedelta(days=2), completed_at=Now() - timedelta(days=2))
    made = ProduceRequest.objects.get().created_at
    call_command("purge_produce_requests")

    answer = api.get(f"/api/produce/status/{gone}")

    assert (answer.status_code, answer.json()["code"]) == (404, "request_purged")
    assert answer.json()["createdAt"][:19] == made.isoformat()[:19]
    assert f"{made:%Y-%m-%d %H:%M:%S} UTC" in answer.json()["detail"]


@pytest.mark.parametrize(
    "request_id",
    [
        "req_01a22c5813097355a11b4d8321dcac6",
        "req_zz",
        "nothing",
        "req_ffffffffffff7000a000000000000000",
        "req_0199b2f0c1e24d5e8f6a3b1c9d4e7f20",
    ],
)
def test_an_id_that_tells_nothing_is_unknown(api: Api, request_id: str) -> None:
    assert api.get(f"/api/produce/status/{request_id}").json()["code"] == "request_not_found"


def test_an_old_request_of_another_key_is_not_called_purged(api: Api, topic: str, settings: Any) -> None:
    row = submit(api, topic, [{"value": 1}])
    old = make_older(row.pk, timedelta(days=2))
    key = ApiKey(name="other")
    secret = key.issue_secret()
    key.save()
    settings.TAKHIN_REQUIRE_API_KEY = True

    answer = api.get(f"/api/produce/status/{old}", Authorization=f"Bearer {secret}")

    assert answer.json()["code"] == "request_not_found"


def test_every_attempt_is_kept_with_its_error(api: Api, topic: str) -> None:
    api.produce(topic, [{"value": 1}], async_="true")
    (row,) = transactions.commit(lambda: ProduceRequest.objects.claim(1))
    end(row, Ending.POSTPONED, ZeroDivisionError("strange"))
    found = ProduceRequest.objects.get()
    assert (found.status, found.error, found.code) == (Status.PENDING, "ZeroDivisionError: strange", "internal_error")
    ProduceRequest.objects.update(lease_until=None)
    (row,) = transactions.commit(lambda: ProduceRequest.objects.claim(1))
    end(row, Ending.FAILED, TopicNotFound("orders"))

    found = ProduceRequest.objects.get()

    assert [attempt.error for attempt in attempts_in(found.earlier)] == ["ZeroDivisionError: strange"]
    assert (found.status, found.code) == (Status.FAILED, "topic_not_found")


def test_equal_attempts_are_counted_and_only_some_are_kept() -> None:
    text = ""
    for _ in range(500):
        text = with_attempt(text, "log_unavailable", "down")
    (attempt,) = attempts_in(text)
    assert attempt.times == 500
    for number in range(100):
        text = with_attempt(text, "internal_error", f"error {number}")

    assert [attempt.error for attempt in attempts_in(text)] == [f"error {number}" for number in range(80, 100)]
    assert len(attempts_in(text)) == MOST_KEPT


# Retry


def test_only_the_failed_records_are_written_again(api: Api) -> None:
    api.create_topic("orders", 1)
    records = [{"value": number, **({"partition": 1} if number % 2 else {})} for number in range(5)]
    row = submit(api, "orders", records)
    before = status(api, row)["offsets"]
    assert [entry.get("offset") for entry in before] == [0, None, 1, None, 2]
    api.client.patch("/api/topics/orders", {"partitions": 2}, content_type="application/json")

    row = retried(row)

    after = status(api, row)["offsets"]
    assert (row.status, row.written_count, row.error) == (Status.COMPLETED, 5, "")
    assert [after[index] for index in (0, 2, 4)] == [before[index] for index in (0, 2, 4)]
    assert [(entry["partition"], entry["offset"]) for entry in (after[1], after[3])] == [(1, 0), (1, 1)]
    assert [message["value"] for message in api.messages("orders", partition=0)] == ["0", "2", "4"]
    assert [message["value"] for message in api.messages("orders", partition=1)] == ["1", "3"]
    (earlier,) = attempts_in(row.earlier)
    assert (earlier.code, earlier.retried_by) == ("unknown_partition", "ada")


def test_records_that_fail_again_keep_their_index_and_the_others_their_offsets(api: Api, topic: str) -> None:
    row = submit(api, topic, [{"value": 1}, {"value": 2, "partition": 99}, {"value": 3}])
    before = status(api, row)["offsets"]

    row = retried(row)

    assert row.status == Status.PARTIAL
    assert status(api, row)["offsets"] == before
    assert before[1]["error"].startswith("record 1: ")
    assert len(api.messages(topic)) == 2


def test_of_several_topics_only_what_is_missing_is_written(api: Api) -> None:
    api.create_topic("orders", 1)
    body = {"records": [{"topic": name, "value": number} for number, name in enumerate(("new", "orders", "new"))]}
    answer = api.post("/api/produce?async=true", body)
    new_worker().work_once()
    row = ProduceRequest.objects.get(pk=answer.json()["requestId"])
    assert (row.status, row.written_count) == (Status.PARTIAL, 1)
    api.create_topic("new", 1)

    row = retried(row)

    # Its options were decided when it was accepted, before the topic existed.
    assert row.status == Status.PARTIAL
    assert [entry.get("topic") for entry in status(api, row)["offsets"]] == ["new", "orders", "new"]
    assert len(api.messages("orders")) == 1


def test_a_partly_written_request_that_is_cancelled_keeps_its_offsets(api: Api, topic: str) -> None:
    row = submit(api, topic, [{"value": 1}, {"value": 2, "partition": 99}])
    before = status(api, row)["offsets"]
    transactions.commit(lambda: row.retry("ada"))

    assert transactions.commit(ProduceRequest.objects.get().cancel)

    row = ProduceRequest.objects.get()
    assert (row.status, row.code) == (Status.PARTIAL, "cancelled")
    assert status(api, row)["offsets"] == before


@pytest.mark.parametrize("parameters", [{"async_": "true"}, {}])
def test_what_was_written_is_not_retried(api: Api, topic: str, parameters: dict[str, str]) -> None:
    api.produce(topic, [{"value": 1}], **parameters)
    new_worker().work_once()

    with pytest.raises(NotRetried, match="every record was written"):
        transactions.commit(lambda: ProduceRequest.objects.get().retry("ada"))


def test_a_sync_request_is_retried_under_its_own_key(api: Api) -> None:
    """The client gets the records that the retry has written, and writes nothing twice."""
    api.create_topic("orders", 1)
    records, key = [{"value": 1, "partition": 1}], {"Idempotency-Key": "k1"}
    first = api.post("/api/topics/orders/produce", {"records": records}, **key)
    assert first.status_code == 422
    api.client.patch("/api/topics/orders", {"partitions": 2}, content_type="application/json")
    row = ProduceRequest.objects.get()

    transactions.commit(lambda: row.retry("ada"))
    assert api.post("/api/topics/orders/produce", {"records": records}, **key).status_code == 409
    new_worker().work_once()

    again = api.post("/api/topics/orders/produce", {"records": records}, **key)
    assert (again.status_code, again["Idempotent-Replayed"]) == (200, "true")
    assert again.json()["offsets"] == status(api, row)["offsets"]
    assert len(api.messages("orders")) == 1
    assert ProduceRequest.objects.get().mode == "sync"


def test_a_sync_request_that_its_client_has_sent_again_is_not_retried(api: Api) -> None:
    api.create_topic("orders", 1)
    records, key = [{"value": 1, "partition": 1}], {"Idempotency-Key": "k1"}
    api.post("/api/topics/orders/produce", {"records": records}, **key)
    row = ProduceRequest.objects.get()
    api.client.patch("/api/topics/orders", {"partitions": 2}, content_type="application/json")
    assert api.post("/api/topics/orders/produce", {"records": records}, **key).status_code == 200

    with pytest.raises(NotRetried, match="its client has sent it again as req_"):
        transactions.commit(lambda: row.retry("ada"))

    assert ProduceRequest.objects.get(pk=row.pk).status == Status.FAILED
    assert len(api.messages("orders")) == 1


def test_a_retry_that_fails_frees_the_key(api: Api, topic: str) -> None:
    api.post(f"/api/topics/{topic}/produce", {"records": [{"value": 1, "partition": 99}]}, **{"Idempotency-Key": "k"})

    retried(ProduceRequest.objects.get())

    assert not IdempotencyKey.objects.exists()


# The admin


def test_a_bulk_retry_takes_async_requests_and_leaves_out_others(admin: Client, api: Api, topic: str) -> None:
    failed = submit(api, topic, [{"value": 1, "partition": 99}])
    api.produce(topic, [{"value": 1, "partition": 99}])
    sync = ProduceRequest.objects.get(mode="sync")
    cancelled = ProduceRequest.objects.get(pk=api.produce(topic, [{"value": 3}], async_="true").json()["requestId"])
    transactions.commit(cancelled.cancel)
    form = {"action": "retry_failed", "_selected_action": [failed.pk, sync.pk, cancelled.pk]}

    page = html.unescape(_text(admin.post(REQUESTS, form)))
    assert "Retry 1 request" in page
    assert "1 sync request left out" in page
    assert "Include 1 cancelled request" in page

    change = confirm(admin, "retry_failed", [failed, sync, cancelled])

    assert (change.total, change.done, change.changed, change.user) == (1, 1, 1, "admin")
    assert set(ProduceRequest.objects.filter(status=Status.PENDING).values_list("pk", flat=True)) == {failed.pk}
    (entry,) = AuditEntry.objects.filter(event="request_retried")
    assert (entry.actor, entry.name) == ("user admin", str(change.pk))
    confirm(admin, "retry_failed", [cancelled], cancelled="on")
    assert ProduceRequest.objects.get(pk=cancelled.pk).status == Status.PENDING


def test_a_bulk_change_tells_what_it_left(admin: Client, api: Api, topic: str) -> None:
    rows = [submit(api, topic, [{"value": 1, "partition": 99}]) for _ in range(60)]
    ProduceRequest.objects.filter(pk__in=[row.pk for row in rows[:7]]).update(body=None)

    change = confirm(admin, "retry_failed", rows)

    assert (change.done, change.changed) == (60, 53)
    assert change.read_skipped() == {"its body is not kept": 7}
    assert "its body is not kept" in _text(admin.get(f"/admin/producer/bulkchange/{change.pk}/change/"))


def test_one_sync_request_is_retried_after_a_warning(admin: Client, api: Api, topic: str) -> None:
    api.produce(topic, [{"value": 1, "partition": 99}])
    row = ProduceRequest.objects.get()
    address = _detail(row).replace("change/", "retry/")
    assert "Retry this request" in _text(admin.get(_detail(row)))

    assert "may have sent the records again" in _text(admin.get(address))
    assert ProduceRequest.objects.get().status == Status.FAILED
    assert "pending again" in _text(admin.post(address, {"confirmed": "1"}, follow=True))

    assert ProduceRequest.objects.get().status == Status.PENDING


def test_failures_are_grouped_by_topic_and_code_and_retried_in_three_clicks(admin: Client, api: Api) -> None:
    api.create_topic("orders", 1)
    api.create_topic("Payments", 1)
    for _ in range(3):
        submit(api, "orders", [{"value": 1, "partition": 1}])
    submit(api, "orders", [{"value": {}}], value_format="string")
    submit(api, "Payments", [{"value": 1}, {"value": 1, "partition": 1}])

    # The first click.
    page = _text(admin.get(FAILURES))
    assert re.findall(r'takhin-title" dir="ltr">(\w+)<', page) == ["orders", "Payments"]
    rows = re.findall(r">(\w+)</a></td>\s*<td>([\w ]+)</td>\s*<td[^>]*>(\d+)</td>\s*<td[^>]*>(\d+)</td>", page)
    assert sorted(rows) == [
        ("serialization_failed", "Failed", "1", "1"),
        ("unknown_partition", "Failed", "3", "3"),
        ("unknown_partition", "Partly written", "1", "1"),
    ]
    # The second and the third.
    assert "Retry 4 requests" in _text(admin.post(f"{FAILURES}retry/", {"topic": "orders"}))
    answer = admin.post(f"{FAILURES}retry/", {"topic": "orders", "confirmed": "1"})

    assert answer.status_code == 302
    assert finished_change().changed == 4
    assert ProduceRequest.objects.filter(status=Status.PENDING, topic="orders").count() == 4
    assert not ProduceRequest.objects.filter(status=Status.PENDING, topic="Payments").exists()


def test_failed_records_are_exported_and_can_be_produced_again(admin: Client, api: Api) -> None:
    api.create_topic("orders", 1)
    lines = b'{"value":{"a":\n 1.10},"partition":1,"headers":[{"key":"h","value":"x"}]}'
    submit(api, "orders", b'{"records":[{"value":0},' + lines + b"]}", compression="zstd")
    submit(api, "orders", [{"key": "k", "value": 2, "partition": 1}, {"value": 3}], compression="zstd")
    submit(api, "orders", [{"value": "other", "partition": 1}, {"value": 3}], value_format="string")
    links = re.findall(r'href="([^"]*export[^"]*)"', _text(admin.get(FAILURES)))
    (address,) = {html.unescape(found) for found in links}

    answer = admin.get(address)

    content = b"".join(answer.streaming_content)  # type: ignore[arg-type, attr-defined]
    assert content.decode().splitlines() == [
        '{"value":{"a":  1.10},"partition":1,"headers":[{"key":"h","value":"x"}]}',
        '{"key":"k","value":2,"partition":1}',
    ] or [json.loads(line) for line in content.splitlines()] == [
        {"key": None, "value": {"a": 1.10}, "partition": 1, "headers": [{"key": "h", "value": "x"}]},
        {"key": "k", "value": 2, "partition": 1},
    ]
    assert answer["X-Takhin-Left-Out"] == "1"
    assert answer["X-Takhin-Produce"] == "/api/topics/orders/produce?compression=zstd"
    api.client.patch("/api/topics/orders", {"partitions": 2}, content_type="application/json")
    produced = api.post(answer["X-Takhin-Produce"], content, "application/x-ndjson")
    assert [entry["offset"] for entry in produced.json()["offsets"]] == [0, 1]
    assert api.messages("orders", partition=1)[0]["value"] == '{"a":  1.10}'
    assert AuditEntry.objects.filter(event="records_exported", name="orders").exists()


def test_the_page_says_what_happened_first_and_how_to_send_it_again(admin: Client, api: Api, topic: str) -> None:
    row = submit(api, topic, [{"value": "it's"}, {"value": 2, "partition": 99}], compression="gzip")

    page = html.unescape(_text(admin.get(_detail(row))))

    places = [page.index(text) for text in ("Only 1 of 2 records were written", ">Results<", ">Payload<", "curl 'http")]
    assert places == sorted(places)
    command = re.search(r"curl 'http://testserver(/api/[^']+)' -H 'Content-Type: application/json' --data-b", page)
    assert command is not None
    assert command[1] == f"/api/topics/{topic}/produce?compression=gzip&async=true"
    assert "Retry the failed records" in page


def test_filters_combine_in_one_form(admin: Client, api: Api, topic: str) -> None:
    submit(api, topic, [{"value": 1, "partition": 99}])
    page = _text(admin.get(f"{REQUESTS}?status=failed&since=30m&topic={topic}&code=unknown_partition"))

    form = re.search(r'<form id="filter-form".*?</form>', page, re.DOTALL)
    assert form is not None
    for name, value in (("status", "failed"), ("since", "30m")):
        assert re.search(rf'name="{name}".*?<option value="{value}" selected', form[0], re.DOTALL), name
    for name, value in (("topic", topic), ("code", "unknown_partition")):
        assert re.search(rf'name="{name}"[^>]*value="{value}"|value="{value}"[^>]*name="{name}"', form[0]), name
    assert "1 produce request" in page


@pytest.mark.parametrize("shorten", [str.upper, lambda pk: f"{pk[:12]}…{pk[-6:]}", lambda pk: f"{pk[:12]}...{pk[-6:]}"])
def test_a_request_is_found_by_its_id_in_any_form(admin: Client, api: Api, topic: str, shorten: Any) -> None:
    row = submit(api, topic, [{"value": 1}])
    submit(api, topic, [{"value": 2}])

    page = _text(admin.get(REQUESTS, {"q": shorten(row.pk)}))

    assert row.pk in page
    assert "1 produce request" in page


def test_the_page_of_a_request_that_is_gone_says_when_it_was_made(admin: Client) -> None:
    response = admin.get(f"{REQUESTS}req_0199b2f0c1e27d5e8f6a3b1c9d4e7f20/change/")

    assert response.status_code == 404
    assert "2025-10-05 05:55:46" in response.content.decode()


def test_payloads_need_their_own_permission(api: Api, topic: str) -> None:
    row = submit(api, topic, [{"value": "secret", "partition": 99}])
    viewer = _staff("view_producerequest")

    page = _text(viewer.get(_detail(row)))

    assert "secret" not in page
    assert "Your role does not include the content of requests." in page
    assert viewer.get(_detail(row).replace("change/", "payload/")).status_code == 403
    assert viewer.get(f"{FAILURES}export/?topic={topic}&status=failed&code=unknown_partition").status_code == 403
    assert not AuditEntry.objects.filter(event="payload_viewed").exists()


def test_who_saw_a_payload_is_noted_without_its_content(admin: Client, api: Api, topic: str) -> None:
    row = submit(api, topic, [{"value": "secret", "partition": 99}])

    assert "secret" in _text(admin.get(_detail(row)))
    assert b"secret" in admin.get(_detail(row).replace("change/", "payload/")).content

    entries = AuditEntry.objects.filter(event="payload_viewed")
    assert {(entry.name, entry.actor) for entry in entries} == {(row.pk, "user admin")}
    assert not [entry for entry in entries if "secret" in entry.details]
    assert "payload_viewed" in _text(admin.get(_detail(row).replace("change/", "history/")))


def test_viewers_change_nothing(api: Api, topic: str) -> None:
    row = submit(api, topic, [{"value": 1, "partition": 99}])
    viewer = _staff("view_producerequest", "view_payload")

    for address in (_detail(row).replace("change/", "retry/"), f"{FAILURES}retry/"):
        assert viewer.post(address, {"confirmed": "1", "topic": topic}).status_code == 403
    viewer.post(REQUESTS, {"action": "retry_failed", "_selected_action": [row.pk], "confirmed": "1"})

    assert ProduceRequest.objects.get().status == Status.FAILED


def test_names_are_shown_unchanged(admin: Client, api: Api) -> None:
    api.create_topic("lower.Case", 1)
    row = submit(api, "lower.Case", [{"value": 1}])

    page = _text(admin.get(_detail(row)))

    assert row.pk.capitalize() not in page
    assert "Lower.Case" not in page
    assert "Produce requests" in page
