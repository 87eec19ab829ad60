"""Finished requests go after a while; pending ones never do."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db.models import QuerySet
from django.db.models.functions import Now
from structlog.testing import capture_logs

from core.errors import StorageFull
from core.models import AuditEntry
from producer.models import BulkChange, IdempotencyKey, ProduceRequest, id_at
from producer.queue import housekeeping
from producer.queue.threads import new_worker
from tests.conftest import Api
from topics.log.embedded import retention
from topics.models import Partition, RecordBatch, Topic


def purge(*arguments: str) -> str:
    out = StringIO()
    call_command("purge_produce_requests", *arguments, stdout=out)
    return out.getvalue().strip()


@pytest.fixture
def requests(api: Api, topic: str) -> dict[str, str]:
    """A request finished 31 minutes ago, a fresh finished one and a pending one nine days old, by name."""
    made = {}
    for name in ("old", "fresh"):
        made[name] = api.produce(topic, [{"value": 1}], async_="true").json()["requestId"]
    new_worker().work_once()
    made["pending"] = api.produce(topic, [{"value": 1}], async_="true").json()["requestId"]
    made["old"] = make_older(made["old"], timedelta(minutes=40), completed_at=Now() - timedelta(minutes=31))
    made["pending"] = make_older(made["pending"], timedelta(days=9))
    return made


def make_older(request_id: str, age: timedelta, **columns: Any) -> str:
    """As if it had been made that long ago; ids begin with their time."""
    moment = datetime.now(UTC) - age
    older = id_at(moment) + request_id[16:]
    ProduceRequest.objects.filter(pk=request_id).update(id=older, created_at=moment, **columns)
    return older


def test_it_works(api: Api, requests: dict[str, str]) -> None:
    assert purge() == (
        "Deleted 1 finished request older than 30 minutes (7 days if a record failed) and 0 records past retention."
    )

    assert api.get(f"/api/produce/status/{requests['old']}").status_code == 404
    assert api.get(f"/api/produce/status/{requests['fresh']}").status_code == 200
    assert api.get(f"/api/produce/status/{requests['pending']}").status_code == 200
    assert len(api.messages("orders")) == 2


def test_retention_is_enforced_with_it(api: Api) -> None:
    """Where the server's own housekeeping is off, the timer that purges must not leave records for ever."""
    api.create_topic("brief", 1, retentionMs=60_000)
    api.produce("brief", [{"value": 1, "timestamp": 1704545600123}, {"value": 2, "timestamp": 1704545600124}])
    api.produce("brief", [{"value": 3}])

    assert purge().endswith("and 2 records past retention.")
    assert [message["value"] for message in api.messages("brief")] == ["3"]


def test_a_slow_request_is_kept_from_its_end(api: Api, requests: dict[str, str]) -> None:
    """What counts is when it ended, not when it was made."""
    slow = make_older(requests["fresh"], timedelta(hours=5))

    purge()

    assert api.get(f"/api/produce/status/{slow}").status_code == 200


def test_a_dry_run_deletes_nothing(requests: dict[str, str]) -> None:
    assert purge("--dry-run") == "Would delete 1 finished request older than 30 minutes (7 days if a record failed)."
    assert ProduceRequest.objects.count() == 3


@pytest.mark.parametrize(("age", "kept"), [("32m", 3), ("30m", 2), ("1d", 3), ("1800s", 2), ("1h", 3)])
def test_older_than(requests: dict[str, str], age: str, kept: int) -> None:
    purge("--older-than", age)

    assert ProduceRequest.objects.count() == kept


@pytest.mark.parametrize("age", ["30", "m", "-1m", "1w", ""])
def test_a_wrong_age_says_so(age: str) -> None:
    with pytest.raises(CommandError, match="is not a number with a unit"):
        purge(f"--older-than={age}")


def test_it_goes_in_steps(api: Api, requests: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "PURGE_STEP", 2)
    row = ProduceRequest.objects.get(pk=requests["old"])
    for number in range(5):
        row.pk = f"req_00{number}"
        row.save(force_insert=True)
    steps: list[Any] = []

    assert housekeeping.purge(timedelta(minutes=30), timedelta(days=7), steps.append) == 6
    assert steps == [2, 2, 2]
    assert ProduceRequest.objects.count() == 2


def test_housekeeping_tells_what_it_did(api: Api, requests: dict[str, str]) -> None:
    make_older(next(iter(requests.values())), timedelta(hours=2))
    api.create_topic("short", 1, retentionMs=1000)
    api.produce("short", [{"value": 1, "timestamp": 1}, {"value": 2, "timestamp": 2}])

    assert _rounds(1) == [{"event": "housekeeping", "requests": 1, "keys": 0, "records": 2, "log_level": "info"}]
    assert _rounds(1) == []


def test_housekeeping_tells_of_keys_of_records_and_of_failures_alone(api: Api, topic: str, settings: Any) -> None:
    api.post(f"/api/topics/{topic}/produce", b'{"records":[{"value":1}]}', **{"Idempotency-Key": "k"})
    IdempotencyKey.objects.update(created_at=Now() - timedelta(hours=25))
    assert _rounds(1) == [{"event": "housekeeping", "requests": 0, "keys": 1, "records": 0, "log_level": "info"}]

    Topic.objects.update(retention_ms=0)
    assert _rounds(1) == [{"event": "housekeeping", "requests": 0, "keys": 0, "records": 1, "log_level": "info"}]

    api.produce(topic, [{"value": 1, "partition": 99}], async_="true")
    new_worker().work_once()
    settings.TAKHIN_MAX_FAILURE_BYTES = 1
    early, line = _rounds(1)
    assert early["event"] == "failures_purged_early"
    assert line == {"event": "housekeeping", "requests": 1, "keys": 0, "records": 0, "log_level": "info"}


def test_housekeeping_purges_the_audit_log_and_bulk_changes(api: Api) -> None:
    ages = {"old": timedelta(days=91), "weeks": timedelta(days=8), "fresh": timedelta(days=6)}
    for name, age in ages.items():
        entry = AuditEntry.objects.create(event="topic_created", actor="ada", kind="topic", name=name)
        QuerySet(AuditEntry).filter(pk=entry.pk).update(at=Now() - age)
        BulkChange.objects.create(action="retry", user=name, ids=b"", total=0, finished_at=Now() - age)

    _rounds(1)

    assert {entry.name for entry in AuditEntry.objects.filter(actor="ada")} == {"weeks", "fresh"}
    assert {change.user for change in BulkChange.objects.all()} == {"fresh"}


def test_housekeeping_goes_on_after_an_error(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[Exception] = [StorageFull("the disk is full"), RuntimeError("no luck")]

    def fail() -> int:
        raise errors.pop(0)

    monkeypatch.setattr(housekeeping, "enforce_retention", fail)
    lines = _rounds(2)

    assert lines[0] == {"event": "housekeeping_put_off", "error": "the disk is full", "log_level": "warning"}
    assert (lines[1]["event"], lines[1]["log_level"]) == ("housekeeping_failed", "error")


def _rounds(count: int) -> list[Any]:
    """Keep house this many times. Return the log lines."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) > count:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, capture_logs() as lines:
        patch.setattr(housekeeping.time, "sleep", sleep)
        with pytest.raises(KeyboardInterrupt):
            housekeeping.keep_house_forever()
    assert set(slept) == {settings.TAKHIN_HOUSEKEEPING_INTERVAL}
    return lines


def test_retention_goes_in_steps_and_counts_all(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "DELETE_STEP", 2)
    api.create_topic("short", 1, retentionMs=1000)
    for number in range(5):
        api.produce("short", [{"value": number, "timestamp": 1}] * 3)

    assert housekeeping.enforce_retention() == 15
    partition = Partition.objects.get(topic__name="short")
    assert (partition.first_offset, partition.next_offset, partition.stored_bytes) == (15, 15, 0)


def test_retention_by_size_counts_each_batch_with_its_own_size(api: Api) -> None:
    api.create_topic("mixed", 1)
    for size in (1000, 10, 10, 10):
        api.produce("mixed", [{"value": "x" * size}])
    _, *small = RecordBatch.objects.filter(partition__topic__name="mixed").order_by("base_offset")
    room = sum(batch.stored_bytes for batch in small)
    api.client.patch("/api/topics/mixed", {"retentionBytes": room}, content_type="application/json")

    assert housekeeping.enforce_retention() == 1
    assert [record["offset"] for record in api.messages("mixed", partition=0)] == [1, 2, 3]


def test_retention_by_size_keeps_the_newest_that_fit(api: Api) -> None:
    api.create_topic("small", 1)
    for number in range(6):
        api.produce("small", [{"value": f"{number}" * 100}])
    (size,) = set(RecordBatch.objects.filter(partition__topic__name="small").values_list("stored_bytes", flat=True))
    api.client.patch("/api/topics/small", {"retentionBytes": 2 * size}, content_type="application/json")

    assert housekeeping.enforce_retention() == 4
    assert [record["offset"] for record in api.messages("small", partition=0)] == [4, 5]
    assert Partition.objects.get(topic__name="small").stored_bytes == 2 * size
