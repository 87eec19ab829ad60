"""Records sent over HTTP are written, and each one's answer is its own."""

import base64
import json
from typing import Any

import pytest

from core.errors import StorageFull
from producer.models import ProduceRequest
from tests.conftest import Api
from topics.log import current_log
from topics.models import RecordBatch


def offsets(answer: Any) -> Any:
    assert answer.status_code == 200, answer.content
    return answer.json()["offsets"]


def test_it_works(api: Api, topic: str) -> None:
    answer = api.produce(topic, [{"key": "user-1", "value": {"amount": 1}}])

    (metadata,) = offsets(answer)
    assert set(metadata) == {"partition", "offset", "timestamp"}
    (message,) = api.messages(topic, partition=metadata["partition"], offset=metadata["offset"])
    assert message["key"] == '"user-1"'
    assert message["value"] == '{"amount": 1}'
    assert message["timestamp"] == metadata["timestamp"]


def test_several_records_answer_in_order(api: Api, topic: str) -> None:
    records = [{"key": f"k{number}", "value": number} for number in range(100)]

    found = offsets(api.produce(topic, records))

    assert len(found) == 100
    for number, metadata in enumerate(found):
        (message,) = api.messages(topic, partition=metadata["partition"], offset=metadata["offset"], limit=1)
        assert message["value"] == str(number)


def test_offsets_go_on_where_the_last_request_ended(api: Api, topic: str) -> None:
    records = [{"value": 1, "partition": 1}] * 3

    first, second = offsets(api.produce(topic, records)), offsets(api.produce(topic, records))

    assert [metadata["offset"] for metadata in first + second] == [0, 1, 2, 3, 4, 5]


def test_one_batch_is_stored_for_each_partition(api: Api, topic: str) -> None:
    api.produce(topic, [{"value": number, "partition": number % 2} for number in range(10)])

    assert list(RecordBatch.objects.order_by("partition__number").values_list("record_count", flat=True)) == [5, 5]


@pytest.mark.parametrize("path", ["/api/topics/orders/produce", "/api/topics/orders/produce/"])
def test_a_trailing_slash_makes_no_difference(api: Api, topic: str, path: str) -> None:
    assert api.post(path, {"records": [{"value": 1}]}).status_code == 200


def test_a_given_partition_is_used(api: Api, topic: str) -> None:
    found = offsets(api.produce(topic, [{"value": 1, "partition": 2}]))

    assert found[0]["partition"] == 2


@pytest.mark.parametrize("partition", [3, -1, 10**30])
def test_an_unknown_partition_is_that_records_error(api: Api, topic: str, partition: int) -> None:
    found = offsets(api.produce(topic, [{"value": 1}, {"value": 2, "partition": partition}]))

    assert "offset" in found[0]
    assert found[1]["code"] == "unknown_partition"
    assert found[1]["retriable"] is False
    assert found[1]["error"].startswith("record 1: partition ")


def test_records_without_a_key_share_a_partition_that_rotates(api: Api, topic: str) -> None:
    used = []
    for _ in range(6):
        partitions = {metadata["partition"] for metadata in offsets(api.produce(topic, [{"value": 1}, {"value": 2}]))}
        assert len(partitions) == 1
        used += partitions

    assert sorted(used) == [0, 0, 1, 1, 2, 2]


def test_a_given_timestamp_is_kept(api: Api, topic: str) -> None:
    found = offsets(api.produce(topic, [{"value": 1, "timestamp": 1704545600123}]))

    assert found[0]["timestamp"] == 1704545600123
    assert api.messages(topic)[0]["timestamp"] == 1704545600123


def test_headers_are_stored_in_order_with_duplicates(api: Api, topic: str) -> None:
    headers = [
        {"key": "a", "value": "1"},
        {"key": "b", "value": None},
        {"key": "a", "value": {"base64": base64.b64encode(b"\xff\x00").decode()}},
        {"key": "", "value": ""},
        {"key": "c"},
    ]

    offsets(api.produce(topic, [{"value": 1, "headers": headers}]))

    assert api.messages(topic)[0]["headers"] == [
        {"key": "a", "value": "1"},
        {"key": "b", "value": None},
        {"key": "a", "value": {"base64": "/wA="}},
        {"key": "", "value": ""},
        {"key": "c", "value": None},
    ]


def test_a_header_that_is_not_base64_is_that_records_error(api: Api, topic: str) -> None:
    records = [{"value": 1}, {"value": 2, "headers": [{"key": "h", "value": {"base64": "?"}}]}]

    assert (
        offsets(api.produce(topic, records))[1]["error"] == "record 1: serialize header 'h': '?' is not standard base64"
    )


def test_an_unknown_topic_is_404_before_anything_else(api: Api) -> None:
    answer = api.produce("nowhere", b"not JSON", value_format="nonsense")

    assert answer.status_code == 404
    assert answer.json()["error"] == "topic not found"
    assert answer.json()["code"] == "topic_not_found"


def test_no_records_is_400(api: Api, topic: str) -> None:
    for body in (b'{"records":[]}', b"{}"):
        answer = api.produce(topic, body)
        assert answer.status_code == 400
        assert answer.json()["error"] == "no records to produce"


def test_when_no_record_is_written_it_is_422_with_the_same_offsets(api: Api, topic: str) -> None:
    answer = api.produce(topic, [{"value": "?"}, {"value": "AA==", "partition": 9}], value_format="binary")

    assert answer.status_code == 422
    assert answer["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "no_record_written"
    assert problem["retriable"] is False
    assert [failure["code"] for failure in problem["offsets"]] == ["serialization_failed", "unknown_partition"]
    assert not RecordBatch.objects.exists()


def test_strict_writes_nothing_when_one_record_fails(api: Api, topic: str) -> None:
    answer = api.produce(topic, [{"value": "AA=="}, {"value": "?"}], value_format="binary", strict="true")

    assert answer.status_code == 422
    good, bad = answer.json()["offsets"]
    assert good["code"] == "not_attempted"
    assert good["retriable"] is False
    assert bad["code"] == "serialization_failed"
    assert not RecordBatch.objects.exists()


def test_strict_writes_all_when_all_are_good(api: Api, topic: str) -> None:
    assert len(offsets(api.produce(topic, [{"value": 1}, {"value": 2}], strict="true"))) == 2


def test_a_sync_request_is_tracked(api: Api, topic: str) -> None:
    answer = api.post(
        f"/api/topics/{topic}/produce?compression=zstd",
        {"records": [{"value": 1}, {"value": 2, "partition": 7}]},
        **{"X-Request-Id": "my-id"},
    )

    row = ProduceRequest.objects.get(http_request_id="my-id")
    assert (row.mode, row.status, row.record_count, row.written_count) == ("sync", "partial", 2, 1)
    assert json.loads(row.read_outcomes() or b"") == answer.json()["offsets"]
    assert b'"partition": 7' in row.read_body()


def test_topics_are_created_on_demand_when_asked_to(api: Api, settings: Any) -> None:
    assert api.produce("fresh", [{"value": 1}]).status_code == 404

    settings.TAKHIN_AUTO_CREATE_TOPICS = True

    assert api.produce("fresh", [{"value": 1}]).status_code == 200
    assert api.get("/api/topics/fresh").json()["partitionCount"] == 3
    assert api.produce("not a name", [{"value": 1}]).json()["code"] == "invalid_topic"


def test_unique_request_ids_under_16_threads(api: Api, topic: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connections

    def submit(_: int) -> str:
        try:
            request_id: str = Api().produce(topic, [{"value": 1}], async_="true").json()["requestId"]
            return request_id
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(submit, range(320)))

    assert len(set(ids)) == 320
    assert all(len(request_id) == 36 and request_id.startswith("req_") for request_id in ids)


def test_reading_every_partition_is_bounded_in_bytes(api: Api) -> None:
    api.create_topic("wide", 40)
    big = "x" * 1_000_000
    for start in range(0, 40, 8):
        records = [{"value": big, "partition": partition} for partition in range(start, start + 8)]
        assert api.produce("wide", records).status_code == 200

    assert 8 <= len(api.messages("wide", limit=1000)) <= 10


def test_an_id_that_the_server_makes_is_also_the_requests(api: Api, topic: str) -> None:
    answer = api.produce(topic, [{"value": 1}])

    row = ProduceRequest.objects.get()
    assert (row.pk, row.trace_id) == (f"req_{answer['X-Request-Id']}", answer["X-Request-Id"])


def test_an_id_that_two_requests_share_is_no_conflict(api: Api, topic: str) -> None:
    first = api.produce(topic, [{"value": 1}])["X-Request-Id"]
    again = api.post(f"/api/topics/{topic}/produce", {"records": [{"value": 2}]}, **{"X-Request-Id": first})

    assert again.status_code == 200
    assert sorted(row.trace_id for row in ProduceRequest.objects.all()) == [first, first]


def test_only_failures_are_tracked_if_asked_so(api: Api, topic: str, settings: Any) -> None:
    settings.TAKHIN_TRACK_SYNC = "failed"
    whole = api.produce(topic, [{"value": 1}])
    partly = api.produce(topic, [{"value": 1}, {"value": 1, "partition": 7}])
    failed = api.produce(topic, [{"value": 1, "partition": 7}])
    accepted = api.produce(topic, [{"value": 1}], async_="true")

    assert [answer.status_code for answer in (whole, partly, failed, accepted)] == [200, 200, 422, 202]
    tracked = {row.trace_id for row in ProduceRequest.objects.all()}
    assert tracked == {answer["X-Request-Id"] for answer in (partly, failed, accepted)}


def test_a_log_that_fails_is_told_for_each_record(api: Api, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise StorageFull("the disk is full")

    monkeypatch.setattr(type(current_log()), "append", fail)
    answer = api.produce(topic, [{"value": 1}, {"value": 2, "partition": 9}])

    assert answer.status_code == 422
    first, second = answer.json()["offsets"]
    assert first == {"error": "record 0: the disk is full", "code": "storage_full", "retriable": True}
    assert second["code"] == "unknown_partition"
    assert second["error"].startswith("record 1: partition 9 does not exist")
