"""The admin shows what happened, changes only what may be changed, and stays cheap on big tables."""

import html
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from structlog.testing import capture_logs

from core import rollups
from core.admin.base import MOST_COUNTED
from core.formatting import moment
from core.models import AuditEntry, Rollup
from producer.admin.request_page import lasted
from producer.models import ApiKey, BulkChange, ProduceRequest, Status, id_at
from producer.options import Options
from producer.queue.threads import new_worker
from tests.conftest import Api
from topics.admin.rendering import show
from topics.log import current_log
from topics.log.records import Record, Write
from topics.models import RecordBatch, Topic

REQUESTS = "/admin/producer/producerequest/"
RECORDS = "/admin/topics/recordbatch/records/"
KEYS = "/admin/producer/apikey/"
TOPICS = "/admin/topics/topic/"
MOST_QUERIES = 15


@pytest.fixture
def admin() -> Client:
    """A superuser's browser."""
    return _browser(User.objects.create_superuser("admin", password="correct horse battery"))


def _browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def _staff(*codenames: str) -> Client:
    user = User.objects.create_user("staff", password="correct horse battery", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return _browser(user)


def _text(response: Any) -> str:
    assert response.status_code == 200, response.status_code
    return response.content.decode()


def _detail(row: ProduceRequest) -> str:
    return f"{REQUESTS}{row.pk.replace('_', '_5F')}/change/"


def _fill(count: int, status: str = Status.COMPLETED, **columns: Any) -> list[ProduceRequest]:
    """Requests a second apart, the newest now."""
    now = datetime.now(UTC)
    rows = []
    for number in range(count):
        created = now - timedelta(seconds=number)
        defaults = {
            "id": f"{id_at(created)}{number:020x}",
            "http_request_id": f"trace-{number}",
            "topic": "orders",
            "mode": "sync",
            "options": msgspec.json.encode(Options(compression="zstd")).decode(),
            "record_count": 3,
            "written_count": 3 if status == Status.COMPLETED else 0,
            "body_bytes": 1000,
            "created_at": created,
            "completed_at": None if status == Status.PENDING else created + timedelta(milliseconds=12),
        }
        rows.append(ProduceRequest(**defaults | {"status": status} | columns))
    return ProduceRequest.objects.bulk_create(rows)


def _act(admin: Client, action: str, rows: list[Any], address: str = REQUESTS) -> str:
    response = admin.post(address, {"action": action, "_selected_action": [row.pk for row in rows]}, follow=True)
    return html.unescape(_text(response))


def confirm(admin: Client, action: str, rows: list[Any], **more: str) -> BulkChange:
    """Act, confirm, and wait until the change is made."""
    form = {"action": action, "_selected_action": [row.pk for row in rows], "confirmed": "1", **more}
    response = admin.post(REQUESTS, form)
    assert response.status_code == 302, response.content
    assert "Progress" in _text(admin.get(response["Location"]))
    return finished_change()


def finished_change() -> BulkChange:
    deadline = time.monotonic() + 20
    while (change := BulkChange.objects.order_by("-pk").first()) is None or change.finished_at is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return change


def test_it_works(admin: Client, api: Api, topic: str) -> None:
    api.produce(topic, [{"value": 1}])

    page = _text(admin.get("/admin/"))

    assert "Requests per second" in page
    assert "Record browser" in page


def test_strangers_are_sent_to_the_login() -> None:
    for path in ("/admin/", REQUESTS, RECORDS, KEYS, TOPICS):
        assert Client().get(path)["Location"].startswith("/admin/login/"), path


def test_what_is_missing_under_admin_is_djangos_page(admin: Client) -> None:
    response = admin.get("/admin/no/such/page/")

    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    "path", ["/admin/", REQUESTS, TOPICS, "/admin/topics/partition/", "/admin/topics/recordbatch/", KEYS]
)
def test_a_page_of_many_rows_takes_few_queries(
    admin: Client, api: Api, path: str, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    key = ApiKey(name="loader")
    key.issue_secret()
    key.save()
    _fill(400, api_key=key)
    for number in range(60):
        api.create_topic(f"topic-{number}", 3)
        api.produce(f"topic-{number}", [{"value": 1}])
        other = ApiKey(name=f"key {number}")
        other.issue_secret()
        other.save()

    with django_assert_max_num_queries(MOST_QUERIES):
        assert admin.get(path).status_code == 200


def test_a_request_and_a_page_of_records_take_few_queries(
    admin: Client, api: Api, topic: str, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    for number in range(30):
        api.produce(topic, [{"value": number, "partition": 0}, {"value": 1, "partition": 9}])

    for path in (_detail(ProduceRequest.objects.all()[0]), f"{RECORDS}?topic={topic}", f"{TOPICS}1/change/"):
        with django_assert_max_num_queries(MOST_QUERIES):
            assert admin.get(path, follow=True).status_code == 200


def test_lists_never_load_bodies_and_never_count_to_the_end(
    admin: Client, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    _fill(3)

    with django_assert_max_num_queries(MOST_QUERIES) as captured:
        admin.get(f"{REQUESTS}?_facets=True")

    listed = [query["sql"] for query in captured if "producer_producerequest" in query["sql"]]
    assert not [sql for sql in listed if '"body"' in sql or '"outcomes"' in sql]
    assert all("LIMIT" in sql for sql in listed if "COUNT(" in sql)


def test_a_count_past_its_bound_says_so(admin: Client) -> None:
    _fill(MOST_COUNTED + 5, Status.PENDING)

    page = _text(admin.get(REQUESTS))

    assert f"{MOST_COUNTED}+ produce requests" in page
    assert f"{MOST_COUNTED + 5:,}</strong> Pending" in _text(admin.get("/admin/"))
    assert admin.get(f"{REQUESTS}?p={MOST_COUNTED // 50}").status_code == 200


def test_the_list_shows_what_became_of_each_request(admin: Client, api: Api, topic: str) -> None:
    api.produce(topic, [{"value": 1}, {"value": 2, "partition": 99}], compression="lz4")
    api.produce(topic, [{"value": 1, "partition": 99}])

    page = _text(admin.get(REQUESTS))

    assert re.search(r"bg-blue-100[^>]*>\s*Partly", page)
    assert re.search(r"bg-red-100[^>]*>\s*Failed", page)
    assert "1 / 1" in page
    assert "unknown_partition" in page


def test_the_list_of_topics_shows_what_was_written_in_the_last_hour(admin: Client, api: Api, topic: str) -> None:
    summer = rollups.Summer()
    summer.save()
    Rollup.objects.all().delete()
    api.produce(topic, [{"value": 1}, {"value": 2}, {"value": 3, "partition": 99}])
    summer.save()
    Rollup.objects.create(
        step=1, minute=time.time() // 60 - 60, metric="records", topic=topic, label="written", value=40
    )

    assert re.search(r">\s*\+2\s*<", _text(admin.get(TOPICS)))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status=failed", {"failed"}),
        ("status=completed", {"old", "fresh"}),
        ("mode=async", {"failed"}),
        ("topic=payments", {"failed"}),
        ("topic=pay", set()),
        ("topic=payments&status=failed", {"failed"}),
        ("since=5m", {"fresh", "failed"}),
        ("since=1d", {"fresh", "failed", "old"}),
        ("created_at_to_0={before}&created_at_to_1=", set()),
        ("created_at_from_0={before}&created_at_from_1=00:00:00", {"fresh", "failed", "old"}),
        ("created_at_from_0=nonsense&created_at_from_1=", {"fresh", "failed", "old"}),
        ("created_at_from_0=0001-01-01&created_at_from_1=", {"fresh", "failed", "old"}),
        ("q=trace-of-old", {"old"}),
        ("q=trace-of", set()),
    ],
)
def test_filters_and_search(admin: Client, query: str, found: set[str]) -> None:
    now = timezone.now()
    for name, created, columns in (
        ("fresh", now, {}),
        ("failed", now - timedelta(minutes=1), {"status": "failed", "mode": "async", "topic": "payments"}),
        ("old", now - timedelta(minutes=59), {}),
    ):
        pk = f"{id_at(created)}{name.encode().hex():0>20}"
        _fill(1, **{"id": pk, "http_request_id": f"trace-of-{name}", "created_at": created, **columns})

    page = _text(admin.get(f"{REQUESTS}?{query.format(before=(now - timedelta(days=2)).date())}", follow=True))

    listed = set(re.findall(r'title="(req_[0-9a-f]{32})"', page))
    names = {bytes.fromhex(pk[16:]).lstrip(b"\0").decode() for pk in listed}
    assert names == found


def test_search_finds_an_id_by_its_beginning(admin: Client) -> None:
    first, *_ = _fill(3)

    for term in (first.pk, first.pk[4:], first.pk.upper().replace("REQ", "req"), first.pk[:16], f" {first.pk} "):
        page = _text(admin.get(REQUESTS, {"q": term}))
        assert re.findall(r'title="(req_[0-9a-f]{32})"', page) == [first.pk]


@pytest.mark.parametrize("term", ["%", "_", "req_", "req_zz", "'; --", "é" * 500])
def test_search_survives_any_text(admin: Client, term: str) -> None:
    _fill(1)

    assert admin.get(REQUESTS, {"q": term}, follow=True).status_code == 200


def test_the_detail_page_tells_the_whole_story(admin: Client, api: Api, topic: str) -> None:
    api.produce(topic, [{"value": "<script>alert(1)</script>"}, {"value": 2, "partition": 99}], value_format="string")
    row = ProduceRequest.objects.get()

    page = _text(admin.get(_detail(row)))

    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "partition 99 does not exist" in page
    (written,) = [outcome for outcome in msgspec.json.decode(row.read_outcomes() or b"") if "offset" in outcome]
    link = f"{RECORDS}?topic=orders&amp;partition={written['partition']}&amp;offset={written['offset']}"
    assert link in page
    assert "&lt;script&gt;" in _text(admin.get(html.unescape(link)))


def test_a_long_payload_and_many_results_are_cut_with_a_note(admin: Client, api: Api, topic: str) -> None:
    records = [{"value": "x" * 100, "partition": number % 4} for number in range(400)]
    api.produce(topic, records)

    page = _text(admin.get(_detail(ProduceRequest.objects.get())))

    assert "Showing 100 of 400 records, failed ones first" in page
    assert page.count("UNKNOWN_PARTITION".lower()) == 100
    assert "truncated to 4096 characters" in page


def test_a_request_without_a_body_says_so(admin: Client, api: Api, topic: str) -> None:
    api.produce(topic, [{"value": 1}])

    assert "Not stored" in _text(admin.get(_detail(ProduceRequest.objects.get())))


def test_requests_cannot_be_edited(admin: Client) -> None:
    (row,) = _fill(1)

    assert admin.post(_detail(row), {"topic": "other"}).status_code == 403
    assert admin.get(f"{REQUESTS}add/").status_code == 403
    assert admin.post(_detail(row).replace("change", "delete"), {"post": "yes"}).status_code == 403


def test_a_failed_request_is_retried_and_succeeds(admin: Client, api: Api) -> None:
    api.create_topic("orders")
    assert api.produce("orders", [{"value": 1}], async_="true").status_code == 202
    api.client.delete("/api/topics/orders")
    new_worker().work_once()
    row = ProduceRequest.objects.get()
    assert row.status == Status.FAILED
    api.create_topic("orders")
    (completed,) = _fill(1)

    page = _act(admin, "retry_failed", [row, completed])
    assert "Retry 1 request" in page
    assert "1 request left out: pending, or completely written." in page
    row.refresh_from_db()
    assert row.status == Status.FAILED
    confirm(admin, "retry_failed", [row, completed])

    new_worker().work_once()
    row.refresh_from_db()
    assert row.status == Status.COMPLETED
    assert "1 / 0" in _text(admin.get(REQUESTS, {"q": row.pk}))


def test_a_pending_request_is_cancelled(admin: Client, api: Api, topic: str) -> None:
    api.produce(topic, [{"value": 1}], async_="true")
    row = ProduceRequest.objects.get()
    assert "Cancel this request" in _text(admin.get(_detail(row)))

    assert "Cancel 1 request" in _act(admin, "cancel_pending", [row])
    confirm(admin, "cancel_pending", [row])

    assert api.get(f"/api/produce/status/{row.pk}").json()["error"] == "cancelled"
    assert "Cancelled" in _text(admin.get(_detail(row)))
    assert "None of the selected requests can be changed." in _act(admin, "cancel_pending", [row])


def test_whoever_may_only_look_cannot_retry(api: Api, topic: str) -> None:
    api.produce(topic, [{"value": 1}], async_="true")
    row = ProduceRequest.objects.get()
    staff = _staff("view_producerequest")

    _act(staff, "cancel_pending", [row])

    row.refresh_from_db()
    assert row.status == Status.PENDING
    assert "Cancel this request" not in _text(staff.get(_detail(row)))


def test_a_topic_is_made_changed_and_deleted_through_the_log(admin: Client, api: Api) -> None:
    new = {"name": "invoices", "partitions": 4, "retention_ms": "", "retention_bytes": "1000"}
    assert "was added successfully" in _text(admin.post(f"{TOPICS}add/", new, follow=True))
    assert api.get("/api/topics/invoices").json()["partitionCount"] == 4
    page = f"{TOPICS}{Topic.objects.get().pk}/"

    changed = {"name": "renamed", "retention_ms": "60000", "retention_bytes": ""}
    _text(admin.post(f"{page}change/", changed, follow=True))
    found = current_log().topic("invoices")
    assert (found.config.retention_ms, found.config.retention_bytes) == (60_000, None)
    # A box that is not ticked is not sent.
    assert api.get("/api/topics/invoices").json()["registersSchemas"] is False

    api.produce("invoices", [{"value": 1}] * 3)
    assert "4 partitions with 3 records" in _text(admin.get(f"{page}delete/"))
    _text(admin.post(f"{page}delete/", {"post": "yes", "name": "invoices"}, follow=True))
    assert api.get("/api/topics/invoices").status_code == 404
    assert not RecordBatch.objects.exists()


def test_a_topic_is_deleted_only_if_its_name_is_typed(admin: Client, api: Api, topic: str) -> None:
    address = f"{TOPICS}{Topic.objects.get().pk}/delete/"
    assert "delete_selected" not in _text(admin.get(TOPICS))

    for typed in ({}, {"name": ""}, {"name": "Orders"}):
        page = html.unescape(_text(admin.post(address, {"post": "yes", **typed}, follow=True)))
        assert "Not deleted: type the topic's name, orders, to confirm." in page
    assert api.get("/api/topics/orders").status_code == 200

    admin.post(address, {"post": "yes", "name": "orders"})
    assert api.get("/api/topics/orders").status_code == 404


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"name": "no spaces"}, "is not valid"),
        ({"name": ".."}, "is not valid"),
        ({"name": "orders"}, "already exists"),
        ({"partitions": "0"}, "greater than or equal to 1"),
        ({"partitions": "1001"}, "less than or equal to 1000"),
        ({"retention_ms": "0"}, "greater than or equal to 1"),
    ],
)
def test_a_wrong_topic_is_refused_in_the_form(admin: Client, topic: str, members: Any, complaint: str) -> None:
    form = {"name": "invoices", "partitions": "3", "retention_ms": "", "retention_bytes": "", **members}

    assert complaint in _text(admin.post(f"{TOPICS}add/", form))
    assert list(Topic.objects.values_list("name", flat=True)) == [topic]


def test_the_record_browser_opens_with_the_newest(admin: Client, api: Api, topic: str) -> None:
    api.produce(topic, [{"value": number, "partition": 1} for number in range(50)], compression="gzip")

    page = _text(admin.get(RECORDS, {"topic": topic, "partition": 1}))

    assert re.findall(r'id="offset-(\d+)"', page) == [str(number) for number in range(30, 50)]
    assert "codec gzip" in page
    older = html.unescape(re.findall(r'href="([^"]+)" rel="prev"', page)[0])
    assert re.findall(r'id="offset-(\d+)"', _text(admin.get(older)))[0] == "10"
    assert 'rel="next"' not in page
    newer = html.unescape(re.findall(r'href="([^"]+)" rel="next"', _text(admin.get(older)))[0])
    assert re.findall(r'id="offset-(\d+)"', _text(admin.get(newer)))[0] == "30"


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ({}, "Choose a topic"),
        ({"topic": "nowhere"}, "no topic named"),
        ({"topic": "orders", "partition": "9"}, "has no partition 9, only 0 to 2"),
        ({"topic": "orders", "partition": "x"}, "Enter a whole number"),
        ({"topic": "orders", "offset": "9" * 30}, "less than or equal"),
        ({"topic": "orders", "partition": "1", "offset": "999"}, "There are no records at or after"),
        ({"topic": "orders", "partition": "1", "offset": "-2"}, "offset-3"),
        ({"topic": "orders", "partition": "2"}, "no records; the next offset is"),
    ],
)
def test_any_place_is_answered(admin: Client, api: Api, topic: str, place: dict[str, str], shown: str) -> None:
    api.produce(topic, [{"value": number, "partition": 1} for number in range(5)])

    assert shown in _text(admin.get(RECORDS, place))


def test_records_below_the_first_kept_offset_begin_at_it(admin: Client, api: Api) -> None:
    api.create_topic("short", 1, retentionBytes=1)
    for number in range(3):
        api.produce("short", [{"value": number}])
    current_log().enforce_retention(0)
    api.produce("short", [{"value": "kept"}])

    page = _text(admin.get(RECORDS, {"topic": "short", "partition": 0, "offset": 0}))

    assert "no longer kept" in page
    assert re.findall(r'id="offset-(\d+)"', page) == ["2", "3"]


def test_no_timestamp_breaks_the_browser(admin: Client, topic: str) -> None:
    """Any 64-bit integer is a Kafka timestamp, and most lie outside what Python's datetime knows."""
    timestamps = (2**63 - 1, -(2**63) + 1, 0, -1)
    current_log().append([Write(topic, 0, [Record(b"k", b"v", timestamp) for timestamp in timestamps])])

    page = _text(admin.get(RECORDS, {"topic": topic, "partition": 0}))

    assert page.count("out of range") == 2
    assert f"{2**63 - 1} ms" in page
    assert "1969-12-31 23:59:59.999 UTC" in page
    assert admin.get("/admin/topics/recordbatch/").status_code == 200


def test_bytes_are_shown_for_what_they_are() -> None:
    assert show(None).kind == "null"
    assert (show(b"").kind, show(b"").text) == ("text", "")
    assert (show(b"\xff\x00").kind, show(b"\xff\x00").text) == ("base64", "/wA=")
    assert show(b"plain").kind == "text"
    number = show(b'{"price":1.10,"n":123456789012345678901234567890}')
    assert '"price": 1.10' in number.text
    assert "123456789012345678901234567890" in number.text
    assert number.exact == '{"price":1.10,"n":123456789012345678901234567890}'
    assert show(b"[" * 5000).kind == "text"
    assert (len(show(b"x" * 9000).text), show(b"x" * 9000).is_cut) == (4096, True)
    assert (len(show(b"\xff" * 9000).text), show(b"\xff" * 9000).is_cut) == (4096, True)


def test_moments_and_durations() -> None:
    assert moment(1_704_545_600_123) == "2024-01-06 12:53:20.123 UTC"
    assert moment(10**18) == ""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    assert lasted(start, start + timedelta(milliseconds=12)) == "12.0 ms"
    assert lasted(start, start + timedelta(seconds=90)) == "1.5 min"
    assert lasted(start, None) == ""


def test_the_record_browser_asks_for_its_permission(topic: str) -> None:
    assert _staff("view_topic").get(RECORDS).status_code == 403


def test_a_key_is_issued_once_and_shown_once(admin: Client, settings: Any, api: Api, topic: str) -> None:
    form = {"name": "loader", "scopes": ["produce", "read"], "topics": "orders, payments.*", "expires_at_0": ""}

    page = _text(admin.post(f"{KEYS}add/", form))

    (secret,) = re.findall(r"tk_[0-9a-f]{8}_[\w-]{43}", page)
    key = ApiKey.objects.get()
    assert (key.scopes, key.topics, key.prefix) == ("produce,read", "orders,payments.*", secret[:11])
    for path in (KEYS, f"{KEYS}{key.pk}/change/", f"{KEYS}{key.pk}/history/", "/admin/"):
        assert secret not in _text(admin.get(path))
    assert key.digest not in _text(admin.get(f"{KEYS}{key.pk}/change/"))
    settings.TAKHIN_REQUIRE_API_KEY = True
    assert (
        api.post(f"/api/topics/{topic}/produce", {"records": [{"value": 1}]}, Authorization=secret).status_code == 200
    )


def test_a_revoked_key_stops_at_once_in_this_process(admin: Client, settings: Any, api: Api, topic: str) -> None:
    key = ApiKey(name="loader")
    secret = key.issue_secret()
    key.save()
    settings.TAKHIN_REQUIRE_API_KEY = True
    assert api.get("/api/topics", Authorization=secret).status_code == 200

    assert "1 key revoked" in _act(admin, "revoke", [key], KEYS)

    assert api.get("/api/topics", Authorization=secret).status_code == 401
    assert "0 keys revoked" in _act(admin, "revoke", [key], KEYS)


def test_who_revoked_a_key_is_written_down(admin: Client) -> None:
    keys = [ApiKey(name=name) for name in ("one", "two", "kept")]
    for key in keys:
        key.issue_secret()
        key.save()
    with capture_logs() as lines:
        _act(admin, "revoke", keys[:2], KEYS)
        _act(admin, "revoke", keys[:2], KEYS)

    entries = AuditEntry.objects.filter(event="key_revoked")
    expected = sorted((key.prefix, "user admin") for key in keys[:2])
    assert sorted(entries.values_list("name", "actor")) == expected
    logged = [(line["key"], line["by"]) for line in lines if line["event"] == "key_revoked"]
    assert sorted(logged) == expected
    assert "key_revoked" in _text(admin.get(f"{KEYS}{keys[0].pk}/history/"))


def test_who_deleted_a_topic_is_written_down(admin: Client, api: Api, topic: str) -> None:
    admin.post(f"{TOPICS}{Topic.objects.get().pk}/delete/", {"post": "yes", "name": topic})

    assert not Topic.objects.exists()
    (entry,) = AuditEntry.objects.filter(event="topic_deleted")
    assert (entry.actor, entry.name) == ("user admin", topic)


def test_a_topic_deleted_over_the_api_is_logged(api: Api, topic: str) -> None:
    with capture_logs() as lines:
        api.client.delete(f"/api/topics/{topic}")
        api.client.delete("/api/topics/nowhere")

    assert [line["topic"] for line in lines if line["event"] == "topic_deleted"] == [topic]


def test_a_key_keeps_its_secret_when_it_is_changed(admin: Client) -> None:
    key = ApiKey(name="loader")
    key.issue_secret()
    key.save()
    form = {"name": "renamed", "scopes": ["read"], "topics": "*", "prefix": "x", "digest": "x", "expires_at_0": ""}

    admin.post(f"{KEYS}{key.pk}/change/", form)

    changed = ApiKey.objects.get()
    assert (changed.name, changed.scopes) == ("renamed", "read")
    assert (changed.prefix, changed.digest) == (key.prefix, key.digest)
    assert admin.post(f"{KEYS}{key.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"topics": "a*b"}, "must be a topic name"),
        ({"topics": "a b"}, "must be a topic name"),
        ({"scopes": []}, "Choose at least one scope"),
        ({"scopes": ["fly"]}, "Select a valid choice"),
    ],
)
def test_a_wrong_key_is_refused_in_the_form(admin: Client, members: Any, complaint: str) -> None:
    form = {"name": "loader", "scopes": ["read"], "topics": "*", "expires_at_0": "", **members}

    assert complaint in html.unescape(_text(admin.post(f"{KEYS}add/", form)))
    assert not ApiKey.objects.exists()
