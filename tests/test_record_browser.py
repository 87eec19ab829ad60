"""Records are found by topic, time, key and text, and one can be produced by hand."""

import html
import re
import tracemalloc
from typing import Any

import pytest
from django.test import Client

from core.models import AuditEntry
from producer.models import ProduceRequest
from tests.conftest import Api
from tests.test_admin import RECORDS, _staff, _text, admin
from topics.admin import scan
from topics.admin.paging import PAGE

__all__ = ["admin"]
FORM = "/admin/producer/producerequest/produce/"


def places(page: str) -> list[str]:
    return re.findall(r'id="offset-([\d-]+)"', page)


def link(page: str, text: str) -> str:
    found = re.findall(rf'href="([^"]+)"[^>]*>{text}<', page)
    assert found, text
    return html.unescape(found[0])


@pytest.fixture
def spread(api: Api, topic: str) -> list[str]:
    """Fifty records over three partitions, a second apart; returns their places in order of time."""
    order = []
    for number in range(50):
        record = {
            "key": f"cust-{number % 7}",
            "value": {"n": number, "text": "needle" if number % 10 == 0 else "hay"},
            "timestamp": 1_700_000_000_000 + number * 1000,
            "partition": number % 3,
            "headers": [{"key": "source", "value": "odd" if number % 2 else "even"}],
        }
        (outcome,) = api.produce(topic, [record]).json()["offsets"]
        order.append(f"{outcome['partition']}-{outcome['offset']}")
    return order


def test_a_whole_topic_is_shown_by_time_and_walked_back(admin: Client, topic: str, spread: list[str]) -> None:
    page = _text(admin.get(RECORDS, {"topic": topic}))

    assert places(page) == spread[-PAGE:]
    seen = places(page)
    while 'rel="prev"' in page:
        page = _text(admin.get(link(page, "Older")))
        seen = places(page) + seen
    assert seen == spread
    assert places(_text(admin.get(link(page, "Newest")))) == spread[-PAGE:]


@pytest.mark.parametrize("partition", [None, 1])
def test_a_time_is_sought(admin: Client, topic: str, spread: list[str], partition: int | None) -> None:
    place = {} if partition is None else {"partition": partition}

    page = _text(admin.get(RECORDS, {"topic": topic, "time": "2023-11-14T22:13:50", **place}))

    if partition is None:
        assert places(page) == spread[30:50]
    else:
        assert places(page) == [one.partition("-")[2] for one in spread[30:] if one.startswith("1-")]


def test_pages_from_a_time_on_follow_one_another(admin: Client, topic: str, spread: list[str]) -> None:
    page = _text(admin.get(RECORDS, {"topic": topic, "time": "2023-11-14T22:13:20"}))

    seen = places(page)
    while 'rel="next"' in page:
        page = _text(admin.get(link(page, "Newer")))
        seen += places(page)
    assert seen == spread


@pytest.mark.parametrize(
    ("find", "where", "numbers"),
    [
        ("needle", "value", range(0, 50, 10)),
        ("needle", "key", ()),
        ("cust-3", "key", range(3, 50, 7)),
        ("source", "headers", range(30, 50)),
        ("even", "anything", range(10, 50, 2)),
    ],
)
def test_records_are_found_by_text(
    admin: Client, topic: str, spread: list[str], find: str, where: str, numbers: Any
) -> None:
    page = _text(admin.get(RECORDS, {"topic": topic, "find": find, "where": where}))

    expected = [spread[number] for number in numbers]
    assert places(page)[-len(expected) :] == expected if expected else "None of them matches" in page
    assert f"{len(places(page))} found in 50 records" in page


def test_a_search_is_bounded_and_goes_on(
    admin: Client, topic: str, spread: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "MOST_SCANNED", 10)
    monkeypatch.setattr(scan, "STEP", 4)

    page = _text(admin.get(RECORDS, {"topic": topic, "find": "needle", "where": "value"}))

    assert "found in 12 records; 38 older ones are not looked through" in page
    seen = places(page)
    while "Look further back" in page:
        page = _text(admin.get(link(page, "Look further back")))
        seen = places(page) + seen
    assert seen == spread[::10]


@pytest.mark.parametrize("place", [{}, {"time": "2020-01-01T00:00:00"}, {"find": "big", "where": "key"}])
def test_large_records_in_many_partitions_are_not_all_in_memory(admin: Client, api: Api, place: dict[str, str]) -> None:
    api.create_topic("large", 16)
    for partition in range(16):
        records = [{"key": "big", "value": "x" * 400_000, "partition": partition}] * 20
        assert api.produce("large", records, value_format="string").status_code == 200

    tracemalloc.start()
    page = _text(admin.get(RECORDS, {"topic": "large", **place}))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(places(page)) >= 20
    assert peak < 80_000_000


def test_a_search_with_more_matches_than_a_page_leaves_none_out(admin: Client, api: Api) -> None:
    api.create_topic("stack", 2)
    for number in range(0, 120, 40):
        api.produce("stack", [{"value": f"needle {one}", "partition": one % 2} for one in range(number, number + 40)])

    page = _text(admin.get(RECORDS, {"topic": "stack", "find": "needle"}))
    seen = places(page)
    while "Look further back" in page:
        page = _text(admin.get(link(page, "Look further back")))
        seen += places(page)

    assert sorted(seen) == sorted(f"{partition}-{offset}" for partition in range(2) for offset in range(60))


@pytest.mark.parametrize(
    "place", [{"time": "yesterday"}, {"until": "x"}, {"since": "1:2:3"}, {"where": "nowhere"}, {"time": "9" * 30}]
)
def test_a_place_that_makes_no_sense_is_refused(admin: Client, topic: str, place: dict[str, str]) -> None:
    page = _text(admin.get(RECORDS, {"topic": topic, **place}))

    assert next(iter(place)) + ": " in page


def test_a_record_is_shown_in_full_as_hex_and_as_curl(admin: Client, api: Api) -> None:
    api.create_topic("odd/name".replace("/", "."), 1)
    api.produce("odd.name", [{"key": "k", "value": "iVBORw0KGgo="}], value_format="binary")

    page = html.unescape(_text(admin.get(RECORDS, {"topic": "odd.name"})))

    assert "89 50 4e 47 0d 0a 1a 0a" in page
    assert ".PNG...." in page
    command = re.search(r"curl 'http://testserver(/api/[^']+)'", page)
    assert command is not None
    assert api.get(command[1]).json()[0]["value"] == "iVBORw0KGgo="
    downloaded = admin.get(link(page, "download the value"))
    assert downloaded.content == b"\x89PNG\r\n\x1a\n"
    assert "attachment" in downloaded["Content-Disposition"]


def test_downloads_and_pages_are_noted_and_need_permission(admin: Client, topic: str, spread: list[str]) -> None:
    admin.get(RECORDS, {"topic": topic, "partition": 1})
    address = f"{RECORDS}value/?topic={topic}&partition=1&offset=3"
    assert admin.get(address).status_code == 200
    assert admin.get(f"{RECORDS}value/?topic={topic}&partition=1&offset=999").status_code == 404
    assert admin.get(f"{RECORDS}value/?topic={topic}").status_code == 404

    found = [entry.read_details() for entry in AuditEntry.objects.filter(event="payload_viewed").order_by("id")]
    assert found == [{"offsets": {"1": [0, 16]}}, {"offsets": {"1": [3, 3]}}]
    assert _staff("view_topic").get(address).status_code == 403


def test_a_live_page_refreshes_itself_and_is_noted_once(admin: Client, topic: str, spread: list[str]) -> None:
    address = f"{RECORDS}?topic={topic}&live=1"

    assert 'hx-trigger="every 2s"' in _text(admin.get(address))
    admin.get(address, headers={"HX-Request": "true"})

    assert AuditEntry.objects.filter(event="payload_viewed").count() == 1
    assert 'hx-trigger="every 2s"' not in _text(admin.get(f"{address}&until=0:5"))


# By hand


def test_a_record_is_produced_by_hand(admin: Client, api: Api, topic: str) -> None:
    form = {
        "topic": topic,
        "key": "naïve",
        "key_format": "string",
        "value": '{"price": 1.10}',
        "value_format": "json",
        "partition": "1",
        "headers": '[{"key":"source","value":"hand"}]',
        "compression": "gzip",
    }

    page = _text(admin.post(FORM, form))

    assert f"{topic}/1/0" in page
    (record,) = api.messages(topic)
    assert (record["key"], record["value"], record["partition"]) == ("naïve", '{"price": 1.10}', 1)
    assert record["headers"] == [{"key": "source", "value": "hand"}]
    assert ProduceRequest.objects.get().read_options().compression == "gzip"
    assert AuditEntry.objects.get(event="record_produced").read_details() == {"partition": 1, "offset": 0}
    admin.post(FORM, form | {"is_tombstone": "on", "value": "", "headers": "", "partition": ""})
    assert [record["value"] for record in api.messages(topic) if record["value"] is None] == [None]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"value": '{"price": '}, "invalid"),
        ({"topic": "nowhere"}, "no topic named"),
        ({"partition": "99"}, "partition 99 does not exist"),
        ({"value": "_-8", "value_format": "binary"}, "is not standard base64"),
        ({"value": "{}", "value_format": "avro"}, "add value.schema=SUBJECT"),
        ({"headers": "[1]"}, "headers"),
        ({"value": '1}],"records":[{"value":2'}, "records"),
    ],
)
def test_it_is_validated_as_the_api_does(
    admin: Client, api: Api, topic: str, changes: dict[str, str], complaint: str
) -> None:
    form = {"topic": topic, "value": "1", "key_format": "string", "value_format": "json", "compression": "none"}

    page = html.unescape(_text(admin.post(FORM, form | changes)))

    assert complaint in page
    assert api.messages(topic) == []


def test_producing_needs_its_permission() -> None:
    assert _staff("view_producerequest", "view_topic").get(FORM).status_code == 403


# The API


def test_records_are_read_by_key(api: Api, topic: str, spread: list[str]) -> None:
    answer = api.get(f"/api/topics/{topic}/messages?partition=0&key=cust-3")

    assert [record["key"] for record in answer.json()] == ['"cust-3"'] * 3
    assert answer["X-Takhin-Next"] == "17"
    first = api.get(f"/api/topics/{topic}/messages?partition=0&key=cust-3&limit=1")
    following = first["X-Takhin-Next"]
    rest = api.get(f"/api/topics/{topic}/messages?partition=0&key=cust-3&offset={following}")
    assert first.json() + rest.json() == answer.json()
    assert api.get(f"/api/topics/{topic}/messages?partition=0&key=nobody").json() == []
    assert api.get(f"/api/topics/{topic}/messages?key=nobody").json()["detail"] == "key: requires partition"


def test_no_key_is_found_in_a_partition_that_does_not_exist(api: Api, topic: str) -> None:
    """The response was 500."""
    answer = api.get(f"/api/topics/{topic}/messages?partition=3&key=a")

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_partition")
