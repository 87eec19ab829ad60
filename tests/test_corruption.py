"""Stored bytes that are not what was written are never shown: a reader is told where, and goes on after them."""

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.conftest import Api
from topics.log.batches import Intact
from topics.log.embedded.verified import VerifiedBatches
from topics.models import Partition, RecordBatch, Topic

# Three batches of two records in partition 0: offsets 0 to 1, 2 to 3 and 4 to 5. The middle one is harmed.
BAD = {"topic": "orders", "partition": 0, "firstOffset": 2, "lastOffset": 3}


@pytest.fixture
def written(api: Api, topic: str) -> str:
    for number in range(3):
        records = [{"partition": 0, "value": f"{number}-{index}"} for index in range(2)]
        assert api.produce(topic, records, compression="none").status_code == 200
    return topic


def harm(change: Callable[[bytes], bytes]) -> None:
    batch = RecordBatch.objects.get(base_offset=2)
    batch.payload = change(bytes(batch.payload))
    batch.save(update_fields=["payload"])


def row(**columns: Any) -> Callable[[], object]:
    return lambda: RecordBatch.objects.filter(base_offset=2).update(**columns)


def payload(change: Callable[[bytes], bytes]) -> Callable[[], object]:
    return lambda: harm(change)


HARMS: dict[str, Callable[[], object]] = {
    "a flipped bit of a value": payload(lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]),
    "a flipped bit of the attributes": payload(lambda data: data[:22] + bytes([data[22] ^ 1]) + data[23:]),
    "a flipped bit of the CRC": payload(lambda data: data[:17] + bytes([data[17] ^ 0x80]) + data[18:]),
    "a flipped bit of the length": payload(lambda data: data[:11] + bytes([data[11] ^ 1]) + data[12:]),
    "a flipped bit of the base offset": payload(lambda data: data[:7] + bytes([data[7] ^ 1]) + data[8:]),
    "another format": payload(lambda data: data[:16] + b"\x01" + data[17:]),
    "cut at the end": payload(lambda data: data[:-4]),
    "cut to the header": payload(lambda data: data[:61]),
    "cut in the header": payload(lambda data: data[:30]),
    "empty": payload(lambda data: b""),
    "longer": payload(lambda data: data + b"\0"),
    "garbage": payload(lambda data: b"\xfe" * len(data)),
    "zeros": payload(lambda data: bytes(len(data))),
    "a count too high": row(record_count=3),
    "a count too low": row(record_count=1),
    "missing": lambda: RecordBatch.objects.filter(base_offset=2).delete(),
}


def read(api: Api, offset: int, limit: int = 100) -> Any:
    return api.get(f"/api/topics/orders/messages?partition=0&offset={offset}&limit={limit}")


def offsets(answer: Any) -> list[int]:
    assert answer.status_code == 200, answer.content
    return [record["offset"] for record in answer.json()]


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_it_works(api: Api, written: str, harm: Callable[[], object]) -> None:
    """A flipped byte was served with 200, and every read across a truncated batch was an internal error."""
    harm()

    assert offsets(read(api, 0)) == [0, 1]
    assert offsets(read(api, 1)) == [1]
    refused = read(api, 2)
    problem = refused.json()
    assert (refused.status_code, problem["code"], problem["retriable"]) == (502, "corrupt_record", False)
    assert {name: problem[name] for name in BAD} == BAD
    assert "offsets 2 to 3 of partition 0 of topic orders" in problem["detail"]
    assert read(api, 3).json()["code"] == "corrupt_record"
    assert offsets(read(api, problem["lastOffset"] + 1)) == [4, 5]


def test_records_before_a_bad_batch_are_read_within_the_limit(api: Api, written: str) -> None:
    harm(lambda data: data[:-1])

    assert offsets(read(api, 0, 1)) == [0]
    assert offsets(read(api, 0, 2)) == [0, 1]
    assert offsets(read(api, 0, 3)) == [0, 1]
    assert offsets(read(api, -2)) == [4, 5]


def test_a_lost_end_is_told(api: Api, written: str) -> None:
    RecordBatch.objects.filter(base_offset=4).delete()

    assert offsets(read(api, 0)) == [0, 1, 2, 3]
    problem = read(api, 4).json()
    assert (problem["code"], problem["firstOffset"], problem["lastOffset"]) == ("corrupt_record", 4, 5)
    assert offsets(read(api, 6)) == []


def test_a_gap_wider_than_the_limit_does_not_look_like_the_end(api: Api, written: str) -> None:
    RecordBatch.objects.filter(base_offset__in=(0, 2)).delete()

    assert read(api, 0, 1).json()["lastOffset"] == 3


def test_every_codec_is_verified(api: Api, topic: str) -> None:
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        api.produce(topic, [{"partition": 0, "value": codec * 20}], compression=codec)
    RecordBatch.objects.update(record_count=2)

    for offset in range(4):
        assert read(api, offset).json()["code"] == "corrupt_record"


def test_a_large_batch_is_loaded_and_verified_once(api: Api, topic: str) -> None:
    api.produce(topic, [{"partition": 0, "value": "x" * 1000}] * 20)
    api.produce(topic, [{"partition": 0, "value": "small"}])
    assert len(offsets(read(api, 0))) == 21

    with CaptureQueriesContext(connection) as queries:
        assert offsets(read(api, 7, 2)) == [7, 8]
    assert not [query for query in queries if "payload" in query["sql"]]
    RecordBatch.objects.all().delete()
    assert read(api, 7).json()["code"] == "corrupt_record"


@pytest.mark.no_database
def test_no_more_batches_are_kept_than_there_is_room_for() -> None:
    one, large = (cast(Intact, SimpleNamespace(size=size)) for size in (10, 31))
    verified = VerifiedBatches(30)
    for identity in (1, 2, 1, 3):
        verified.add(identity, one)
    assert verified.get(2) is one
    verified.add(4, one)
    assert [number for number in range(5) if verified.get(number)] == [2, 3, 4]
    verified.add(5, large)
    assert not any(map(verified.get, range(6)))
    verified.add(6, one)
    assert verified.get(6) is one


def test_the_browser_shows_what_can_be_read_and_names_the_rest(api: Api, written: str, admin_client: Client) -> None:
    harm(lambda data: data[:-1])
    page = admin_client.get("/admin/topics/recordbatch/records/?topic=orders&partition=0")

    assert page.status_code == 200
    text = page.content.decode()
    assert "offsets 2 to 3 of partition 0 of topic orders cannot be read" in text
    for value in ("0-0", "0-1", "2-0", "2-1"):
        assert value in text
    assert "1-0" not in text


def test_a_counter_that_fell_behind_refuses_to_write(api: Api, written: str) -> None:
    Partition.objects.filter(number=0).update(next_offset=4)

    answer = api.produce(written, [{"partition": 0, "value": 1}])

    assert (answer.status_code, answer.json()["offsets"][0]["code"]) == (503, "storage_damaged")
    assert "partition 0 of topic orders" in answer.json()["offsets"][0]["error"]


# manage.py check_log


def check_log(*topics: str) -> tuple[int, list[str]]:
    """Its exit code, and what it prints."""
    out = io.StringIO()
    try:
        call_command("check_log", topic=list(topics) or None, stdout=out, stderr=io.StringIO())
    except SystemExit as end:
        return int(end.code or 0), out.getvalue().splitlines()
    return 0, out.getvalue().splitlines()


def test_a_log_that_is_well(api: Api, written: str) -> None:
    api.create_topic("empty", 2)

    code, (summary,) = check_log()

    assert code == 0
    assert summary.startswith("Checked 5 partitions, 3 batches, 6 records, ")
    assert summary.endswith(": no problems.")


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_whatever_harms_a_batch_is_found(api: Api, written: str, harm: Callable[[], object]) -> None:
    harm()

    code, lines = check_log()

    assert code == 1
    assert any(line.startswith(("orders/0: offset 2: ", "orders/0: offsets 2 to ")) for line in lines), lines
    assert lines[-1].startswith("Checked 3 partitions, ")
    assert lines[-1].endswith((f"{len(lines) - 1} problems.", "1 problem."))


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"stored_bytes": F("stored_bytes") + 1}, "stored_bytes is "),
        ({"next_offset": 7}, "offset 6 are missing at the end"),
        ({"next_offset": 4}, "next_offset is 4, but the batches end at 6"),
        ({"first_offset": 2}, "first_offset is 2, but the batches begin at 0"),
    ],
)
def test_counters_that_disagree_are_found(api: Api, written: str, columns: dict[str, Any], told: str) -> None:
    Partition.objects.filter(number=0).update(**columns)

    code, lines = check_log()

    assert code == 1
    assert any(told in line for line in lines), lines


def test_batches_that_overlap_are_found(api: Api, written: str) -> None:
    RecordBatch.objects.filter(base_offset=4).update(base_offset=3)

    code, lines = check_log()

    assert code == 1
    assert "orders/0: the batch at offset 3 should begin at offset 4" in lines


def test_one_topic_alone_is_checked(api: Api, written: str) -> None:
    api.create_topic("archive", 1)
    harm(lambda data: data[:-1])

    assert check_log("archive")[0] == 0
    assert check_log("orders")[0] == 1
    with pytest.raises(CommandError, match="there is no topic named 'nowhere'"):
        check_log("archive", "nowhere")


def test_what_retention_has_deleted_is_not_missing(api: Api, written: str) -> None:
    Topic.objects.update(retention_bytes=1)
    call_command("purge_produce_requests", stdout=io.StringIO())

    assert Partition.objects.get(number=0).first_offset > 0
    assert check_log()[0] == 0


def test_a_scan_is_made_in_steps(api: Api, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topics.log.embedded.inspection.PAGE", 2)
    monkeypatch.setattr("topics.log.embedded.inspection.PAGE_BYTES", 100)
    for _ in range(7):
        api.produce(topic, [{"partition": 0, "value": "x" * 60}])

    code, lines = check_log()

    assert (code, lines[-1][:39]) == (0, "Checked 3 partitions, 7 batches, 7 reco")
