"""Topics are made, described, read back, kept for as long as asked, and deleted with all their records."""

import base64
import re
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from core.errors import StorageFull
from tests.conftest import Api
from topics.log import current_log
from topics.log.embedded import retention
from topics.models import Partition, RecordBatch, Topic


def patch(api: Api, name: str, body: str) -> Any:
    return api.client.patch(f"/api/topics/{name}", body, content_type="application/json")


def fill(api: Api, count: int, topic: str = "orders", partition: int = 0, **members: Any) -> None:
    records = [{"value": number, "partition": partition, **members} for number in range(count)]
    assert api.produce(topic, records).status_code == 200


def offsets(messages: Any) -> list[int]:
    return [message["offset"] for message in messages]


def test_it_works(api: Api) -> None:
    created = api.post("/api/topics", {"name": "orders", "partitions": 2})

    assert created.status_code == 201
    assert created["Location"] == "/api/topics/orders"
    expected = {
        "name": "orders",
        "partitionCount": 2,
        "partitions": [
            {"id": number, "highWaterMark": 0, "firstOffset": 0, "leader": 0, "replicas": [0], "inSyncReplicas": [0]}
            for number in range(2)
        ],
        "replicationFactor": 1,
        "retentionMs": None,
        "retentionBytes": None,
        "configs": {},
        "registersSchemas": True,
    }
    assert created.json() == expected
    assert api.get("/api/topics/orders").json() == expected
    assert api.get("/api/topics").json() == [expected]


def test_there_are_no_topics_at_first_and_they_are_listed_by_name(api: Api) -> None:
    assert api.get("/api/topics").json() == []

    for name in ("b", "a", "B", "10"):
        api.create_topic(name, 1)

    assert [topic["name"] for topic in api.get("/api/topics").json()] == ["10", "B", "a", "b"]


def test_a_topic_has_the_default_number_of_partitions(api: Api, settings: Any) -> None:
    assert api.post("/api/topics", {"name": "a"}).json()["partitionCount"] == 3

    settings.TAKHIN_DEFAULT_PARTITIONS = 7

    assert api.post("/api/topics", {"name": "b"}).json()["partitionCount"] == 7


def test_the_high_water_mark_is_the_next_offset(api: Api, topic: str) -> None:
    fill(api, 5, partition=1)

    assert [bounds["highWaterMark"] for bounds in api.get("/api/topics/orders").json()["partitions"]] == [0, 5, 0]


@pytest.mark.parametrize("name", ["a", "A-b_c.9", "x" * 249, "...", "-", "_", "0"])
def test_kafkas_names_are_names(api: Api, name: str) -> None:
    assert api.post("/api/topics", {"name": name}).status_code == 201
    assert api.get(f"/api/topics/{name}").json()["name"] == name
    assert api.produce(name, [{"value": 1}]).status_code == 200
    assert len(api.messages(name)) == 1


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "x" * 250,
        "a b",
        "a/b",
        "\u00e9",
        "a\n",
        " a",
        "a ",
        "a\x00",
        "a*",
        "a:b",
        1,
        1.5,
        True,
        None,
        [],
        {},
    ],
)
def test_other_names_are_400(api: Api, name: Any) -> None:
    answer = api.post("/api/topics", {"name": name})

    assert answer.status_code == 400, answer.content
    assert "name" in answer.json()["detail"]
    assert not Topic.objects.exists()


@pytest.mark.parametrize("name", ["a b", "\u00e9", "x" * 250, "a\n"])
def test_another_name_is_told_what_a_name_may_be(api: Api, name: str) -> None:
    """It said that the value does not match the required pattern."""
    answer = api.post("/api/topics", {"name": name})

    assert "use 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'" in answer.json()["detail"]


@pytest.mark.parametrize(
    "members",
    [
        {"partitions": 0},
        {"partitions": -1},
        {"partitions": 1001},
        {"partitions": "3"},
        {"partitions": True},
        {"partitions": 1.5},
        {"partitions": None},
        {"retentionMs": 0},
        {"retentionMs": -1},
        {"retentionMs": "1d"},
        {"retentionMs": 2**63},
        {"retentionBytes": 0},
        {"retentionBytes": True},
        {"replicationFactor": 0},
        {"replicationFactor": 3},
        {"replicationFactor": "1"},
        {"configs": []},
        {"configs": {"cleanup.policy": "compact"}},
        {"configs": {"retention.ms": "soon"}},
        {"configs": {"retention.bytes": 0}},
        {"configs": {"retention.ms": {"a": 1}}},
        {"configs": {"x" * 101: "1"}},
        {"configs": {"": "1"}},
        {"configs": {"a b": "1"}},
        {"configs": {"retention.ms": "1" * 10_001}},
        {"unknown": 1},
    ],
)
def test_other_members_are_400_and_named(api: Api, members: dict[str, Any]) -> None:
    answer = api.post("/api/topics", {"name": "orders", **members})

    assert answer.status_code == 400, answer.content
    (name,) = members
    assert re.match(rf"{name}(\..*)?: ", answer.json()["detail"])
    assert len(answer.json()["detail"]) < 300
    assert not Topic.objects.exists()


def test_a_topic_that_exists_is_409(api: Api, topic: str) -> None:
    answer = api.post("/api/topics", {"name": topic, "partitions": 9})

    assert answer.status_code == 409
    assert answer.json()["error"] == "topic exists"
    assert api.get("/api/topics/orders").json()["partitionCount"] == 3


@pytest.mark.parametrize("path", ["/api/topics/", "/api/topics/orders/", "/api/topics/orders/messages/"])
def test_a_trailing_slash_makes_no_difference(api: Api, topic: str, path: str) -> None:
    assert api.get(path).json() == api.get(path.rstrip("/")).json()


# Changing


def test_retention_is_changed_a_member_at_a_time(api: Api, topic: str) -> None:
    steps = [
        ('{"retentionMs":1000}', (1000, None)),
        ('{"retentionBytes":5}', (1000, 5)),
        ("{}", (1000, 5)),
        ('{"retentionMs":null}', (None, 5)),
        ('{"retentionMs":9223372036854775807,"retentionBytes":null}', (2**63 - 1, None)),
    ]
    for body, expected in steps:
        answer = patch(api, topic, body)
        assert answer.status_code == 200, answer.content
        shown = api.get("/api/topics/orders").json()
        assert answer.json() == shown
        assert (shown["retentionMs"], shown["retentionBytes"]) == expected


@pytest.mark.parametrize(
    "body",
    ['{"partitions":2}', '{"replicationFactor":2}', '{"name":"x"}', '{"retentionMs":"1"}', "[]", "nonsense", "null"],
)
def test_other_changes_are_400(api: Api, topic: str, body: str) -> None:
    assert patch(api, topic, body).status_code == 400


def test_partitions_are_added_and_written_at_once(api: Api, topic: str) -> None:
    fill(api, 2)

    answer = patch(api, topic, '{"partitions":5,"retentionMs":1000}')

    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["partitionCount"], shown["retentionMs"]) == (5, 1000)
    assert [bounds["highWaterMark"] for bounds in shown["partitions"]] == [2, 0, 0, 0, 0]
    fill(api, 1, partition=4)
    assert api.messages("orders", partition=4)[0]["offset"] == 0
    assert patch(api, topic, '{"partitions":5}').status_code == 200
    refused = patch(api, topic, '{"partitions":4,"retentionMs":5}')
    assert refused.json()["detail"] == "partitions: topic 'orders' has 5 and cannot have fewer, got 4"
    assert api.get("/api/topics/orders").json()["retentionMs"] == 1000


def test_retention_has_kafkas_names_too(api: Api) -> None:
    created = api.post("/api/topics", {"name": "orders", "configs": {"retention.ms": 1000, "retention.bytes": "-1"}})
    assert (created.json()["retentionMs"], created.json()["retentionBytes"]) == (1000, None)

    assert patch(api, "orders", '{"configs":{"retention.ms":null}}').json()["retentionMs"] is None
    both = patch(api, "orders", '{"retentionMs":5,"configs":{"retention.ms":6}}')
    assert both.status_code == 400
    assert both.json()["detail"].startswith("configs.retention.ms: this is the same as retentionMs")


def test_the_embedded_log_is_its_own_broker(api: Api) -> None:
    cluster = api.get("/api/cluster").json()

    assert cluster.pop("versions")["takhin"]
    assert cluster == {
        "log": "embedded",
        "clusterId": None,
        "controller": 0,
        "brokers": [{"id": 0, "host": None, "port": None}],
    }
    assert api.get("/api/cluster?x=1").status_code == 400


def test_reading_starts_at_a_time(api: Api, topic: str) -> None:
    fill(api, 3, timestamp=1000)
    # Timestamps are the clients', and may go back.
    fill(api, 1, timestamp=500)
    fill(api, 3, timestamp=2000)
    fill(api, 2, partition=1, timestamp=1500)

    def found(timestamp: int, **more: Any) -> list[tuple[int, int]]:
        return [(one["partition"], one["offset"]) for one in api.messages(topic, timestamp=timestamp, **more)]

    assert found(0, partition=0) == [(0, offset) for offset in range(7)]
    assert found(1000, partition=0, limit=2) == [(0, 0), (0, 1)]
    assert found(1001, partition=0) == [(0, 4), (0, 5), (0, 6)]
    assert found(2001, partition=0) == []
    assert found(1200) == [(0, 4), (0, 5), (0, 6), (1, 0), (1, 1)]
    assert found(2**63 - 1) == []


@pytest.mark.parametrize(
    "query", ["timestamp=-1", "timestamp=x", "timestamp=1&offset=0", "timestamp=9223372036854775808"]
)
def test_a_wrong_time_is_400(api: Api, topic: str, query: str) -> None:
    answer = api.get(f"/api/topics/{topic}/messages?{query}")

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("timestamp: ")


def test_a_topic_is_created_with_its_retention(api: Api) -> None:
    api.create_topic("kept", 1, retentionMs=5, retentionBytes=None)

    shown = api.get("/api/topics/kept").json()
    assert (shown["retentionMs"], shown["retentionBytes"]) == (5, None)


def test_changing_or_deleting_an_unknown_topic_is_404(api: Api) -> None:
    assert patch(api, "nowhere", "{}").status_code == 404
    assert api.client.delete("/api/topics/nowhere").status_code == 404


# Reading


def test_reading_starts_anywhere(api: Api, topic: str) -> None:
    fill(api, 4)
    fill(api, 3)
    fill(api, 3)

    def read(**parameters: Any) -> list[int]:
        return offsets(api.messages(topic, partition=0, **parameters))

    assert read() == list(range(10))
    assert read(offset=0) == list(range(10))
    assert read(offset=3) == list(range(3, 10))
    assert read(offset=3, limit=2) == [3, 4]
    assert read(offset=9) == [9]
    assert read(limit=1) == [0]
    assert read(offset=-1) == [9]
    assert read(offset=-3) == [7, 8, 9]
    assert read(offset=-3, limit=1) == [7]
    assert read(offset=-10) == list(range(10))
    assert read(offset=-11) == list(range(10))
    assert read(offset=-(2**63) + 1) == list(range(10))


@pytest.mark.parametrize("offset", [10, 11, 2**31, 2**63 - 1])
def test_at_or_past_the_end_there_is_nothing(api: Api, topic: str, offset: int) -> None:
    fill(api, 10)

    assert api.messages(topic, partition=0, offset=offset) == []


@pytest.mark.parametrize("offset", [-5, -1, 0, 5])
def test_an_empty_partition_is_empty_from_everywhere(api: Api, topic: str, offset: int) -> None:
    assert api.messages(topic, partition=0, offset=offset) == []
    assert api.messages(topic, offset=offset) == []
    assert api.messages(topic) == []


def test_without_a_partition_each_is_read_in_turn(api: Api, topic: str) -> None:
    for partition in (2, 0, 1):
        fill(api, 3, partition=partition)

    def read(**parameters: Any) -> list[tuple[int, int]]:
        return [(message["partition"], message["offset"]) for message in api.messages(topic, **parameters)]

    assert read() == [(partition, offset) for partition in range(3) for offset in range(3)]
    assert read(offset=-1) == [(0, 2), (1, 2), (2, 2)]
    assert read(offset=2) == [(0, 2), (1, 2), (2, 2)]
    assert read(limit=4) == [(0, 0), (0, 1), (0, 2), (1, 0)]


def test_a_hundred_are_read_unless_told_and_a_thousand_at_most(api: Api, topic: str) -> None:
    fill(api, 1200)

    assert len(api.messages(topic)) == 100
    assert len(api.messages(topic, limit=1000)) == 1000
    for limit in ("1001", "0", "-1", "x", "", "1.5", "true"):
        answer = api.get(f"/api/topics/orders/messages?limit={limit}")
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith("limit: ")


@pytest.mark.parametrize("query", ["partition=x", "partition=-1", "partition=1e1", "offset=x", f"offset={2**63}"])
def test_a_wrong_place_is_400(api: Api, topic: str, query: str) -> None:
    answer = api.get(f"/api/topics/orders/messages?{query}")

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(query.partition("=")[0])


def test_an_unknown_partition_is_404(api: Api, topic: str) -> None:
    answer = api.get("/api/topics/orders/messages?partition=3")

    assert answer.status_code == 404
    assert answer.json()["code"] == "unknown_partition"
    assert answer.json()["detail"] == "partition 3 does not exist: the topic has partitions 0 to 2"


def test_bytes_are_shown_as_text_where_they_are_text(api: Api, topic: str) -> None:
    cases = [
        (None, None, "utf-8"),
        (b"", "", "utf-8"),
        (b"text", "text", "utf-8"),
        ("\u00e9\U0001f600\x00".encode(), "\u00e9\U0001f600\x00", "utf-8"),
        (b"\xff\xfe", "//4=", "base64"),
        (b"\xed\xa0\x80", "7aCA", "base64"),
        (b"\xc0\x80", "wIA=", "base64"),
    ]
    sent = [None if data is None else base64.b64encode(data).decode() for data, _, _ in cases]
    records = [{"key": text, "value": text, "partition": 0} for text in sent]

    assert api.produce(topic, records, key_format="binary", value_format="binary").status_code == 200

    for message, (_, text, encoding) in zip(api.messages(topic), cases, strict=True):
        assert (message["key"], message["keyEncoding"]) == (text, encoding)
        assert (message["value"], message["valueEncoding"]) == (text, encoding)


def test_a_read_of_large_records_ends_early_and_goes_on_from_there(api: Api, topic: str) -> None:
    for _ in range(3):
        fill(api, 6, value="x" * 1_000_000)

    seen: list[int] = []
    while found := api.messages(topic, partition=0, offset=len(seen), limit=1000):
        assert sum(len(message["value"]) for message in found) <= 8 * 1024 * 1024
        seen += offsets(found)

    assert seen == list(range(18))


# Retention


def test_retention_by_time_deletes_whole_old_batches(api: Api) -> None:
    api.create_topic("orders", 2, retentionMs=1000)
    fill(api, 3, timestamp=10_000)
    fill(api, 2, timestamp=10_500)
    fill(api, 2, timestamp=11_500)
    fill(api, 1, partition=1, timestamp=1)

    assert current_log().enforce_retention(11_000) == 1
    assert current_log().enforce_retention(11_001) == 3
    assert current_log().enforce_retention(11_001) == 0

    kept = api.get("/api/topics/orders").json()["partitions"]
    assert [(bounds["firstOffset"], bounds["highWaterMark"]) for bounds in kept] == [(3, 7), (1, 1)]
    assert offsets(api.messages("orders", partition=0)) == [3, 4, 5, 6]
    assert api.messages("orders", partition=1) == []


def test_a_batch_with_one_young_record_is_kept_and_all_after_it(api: Api) -> None:
    api.create_topic("orders", 1, retentionMs=1000)
    api.produce("orders", [{"timestamp": 1}, {"timestamp": 50_000}])
    fill(api, 1, timestamp=2)

    assert current_log().enforce_retention(50_500) == 0
    assert current_log().enforce_retention(51_001) == 3


def test_retention_by_bytes_deletes_the_oldest(api: Api) -> None:
    api.create_topic("orders", 1)
    for _ in range(10):
        fill(api, 1, value="x" * 1000)
    size = RecordBatch.objects.values_list("stored_bytes", flat=True)[0]
    patch(api, "orders", f'{{"retentionBytes":{size * 4}}}')

    assert current_log().enforce_retention(0) == 6

    assert offsets(api.messages("orders")) == [6, 7, 8, 9]
    assert Partition.objects.get().stored_bytes == size * 4
    assert current_log().enforce_retention(0) == 0


def test_reading_below_the_first_kept_offset_is_410_that_says_so(api: Api) -> None:
    api.create_topic("orders", 1, retentionMs=1000)
    fill(api, 5, timestamp=0)
    fill(api, 2, timestamp=90_000)
    current_log().enforce_retention(90_000)

    answer = api.get("/api/topics/orders/messages?partition=0&offset=4")

    assert answer.status_code == 410
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "offset_out_of_range"
    assert answer.json()["detail"] == "offset 4 is no longer kept: the first kept offset is 5"
    assert api.get("/api/topics/orders/messages?offset=0").status_code == 410
    # Without an offset, or counting from the end, there is nothing to miss.
    assert offsets(api.messages("orders")) == [5, 6]
    assert offsets(api.messages("orders", partition=0, offset=-7)) == [5, 6]
    assert offsets(api.messages("orders", partition=0, offset=5)) == [5, 6]


def test_offsets_go_on_after_everything_was_deleted(api: Api) -> None:
    api.create_topic("orders", 1, retentionMs=1)
    fill(api, 5, timestamp=0)
    assert current_log().enforce_retention(10_000) == 5

    assert api.messages("orders") == []
    assert api.get("/api/topics/orders/messages?partition=0&offset=4").status_code == 410
    assert api.produce("orders", [{}]).json()["offsets"][0]["offset"] == 5
    assert offsets(api.messages("orders")) == [5]


def test_what_has_no_retention_is_kept(api: Api, topic: str) -> None:
    fill(api, 5, timestamp=0)

    assert current_log().enforce_retention(2**62) == 0
    assert len(api.messages(topic)) == 5


# Deleting


def test_a_topic_is_deleted_with_its_records(api: Api, topic: str) -> None:
    fill(api, 5)

    answer = api.client.delete("/api/topics/orders")

    assert (answer.status_code, answer.content) == (204, b"")
    assert api.get("/api/topics").json() == []
    for path in ("/api/topics/orders", "/api/topics/orders/messages"):
        assert api.get(path).status_code == 404
    assert api.produce("orders", [{}]).status_code == 404
    assert api.client.delete("/api/topics/orders").status_code == 404
    assert not RecordBatch.objects.exists()
    assert not Partition.objects.exists()


def test_a_topic_whose_records_cannot_go_yet_is_deleted(api: Api, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was answered with 503, as on a full disk, though the topic was gone: sent again, it was a 404."""
    fill(api, 5)

    def fail() -> int:
        raise StorageFull("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(retention, "delete_orphans", fail)
        assert api.client.delete("/api/topics/orders").status_code == 204

    assert api.get("/api/topics/orders").status_code == 404
    assert RecordBatch.objects.exists()
    assert current_log().enforce_retention(0) == 5
    assert not RecordBatch.objects.exists()
    assert not Partition.objects.exists()


def test_a_topic_made_again_starts_empty_at_offset_0(api: Api, topic: str) -> None:
    api.create_topic("other", 1)
    for count in (3, 1, 2):
        fill(api, 4)
        fill(api, 1, "other")
        assert api.client.delete("/api/topics/orders").status_code == 204
        api.create_topic("orders", count)

        assert api.messages("orders") == []
        assert api.produce("orders", [{"value": "new", "partition": 0}]).json()["offsets"][0]["offset"] == 0
        assert [message["value"] for message in api.messages("orders")] == ['"new"']
        assert len(api.get("/api/topics/orders").json()["partitions"]) == count
    assert len(api.messages("other")) == 3


# The command


def test_the_command_creates_a_topic(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("create_topic", "orders", "--partitions", "5", "--retention-ms", "9", "--retention-bytes", "8")

    assert capsys.readouterr().out == "Created topic orders with 5 partitions.\n"
    shown = api.get("/api/topics/orders").json()
    assert (shown["partitionCount"], shown["retentionMs"], shown["retentionBytes"]) == (5, 9, 8)


def test_the_command_refuses_what_the_api_refuses(api: Api, topic: str) -> None:
    for arguments, message in (
        (["orders"], "topic 'orders' already exists"),
        (["a b"], "topic name 'a b' is not valid"),
        (["new", "--partitions", "0"], "a topic must have 1 to 1000 partitions, got 0"),
        (["new", "--partitions", "x"], "invalid int value: 'x'"),
        (["new", "--retention-ms", "0"], "retention"),
        (["new", "--retention-bytes", "-1"], "retention"),
    ):
        with pytest.raises(CommandError, match=message):
            call_command("create_topic", *arguments)
    assert [shown["name"] for shown in api.get("/api/topics").json()] == ["orders"]


def test_the_command_may_find_the_topic(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("create_topic", "orders", "--if-not-exists")

    assert capsys.readouterr().out == "Topic orders already exists.\n"
