"""An accepted request is kept, run once, and its status tells how it went."""

import functools
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connections
from django.db.models.functions import Now
from structlog.testing import capture_logs

from core import tracing, wakeups
from core.database import transactions
from core.errors import OutcomeUnknown, StorageFull, StorageUnavailable
from producer.errors import RecordFailure
from producer.models import (
    MAX_ATTEMPTS,
    Heartbeat,
    NotRetried,
    Outcomes,
    Overtaken,
    ProduceRequest,
    Status,
    WorkerSlot,
    request_queryset,
)
from producer.pipeline.plan import TopicPlan
from producer.queue import loop
from producer.queue.endings import Ending, back_off, end, has_given_up, save
from producer.queue.jobs import Job
from producer.queue.loop import Worker
from producer.queue.threads import new_worker
from producer.queue.writers import DirectWriter
from tests.conftest import Api
from topics.log import current_log
from topics.log.contract import Log, SessionStuck
from topics.log.errors import TopicNotFound
from topics.models import RecordBatch


def submit(api: Api, topic: str, records: Any, **parameters: str) -> str:
    answer = api.produce(topic, records, async_="true", **parameters)
    assert answer.status_code == 202, answer.content
    request_id: str = answer.json()["requestId"]
    return request_id


def status(api: Api, request_id: str, query: str = "") -> Any:
    answer = api.get(f"/api/produce/status/{request_id}{query}")
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_it_works(api: Api, topic: str) -> None:
    answer = api.produce(topic, [{"value": 1}, {"value": 2}], async_="true")

    assert answer.status_code == 202
    body = answer.json()
    assert body == {"requestId": body["requestId"], "status": "pending"}
    assert answer["Location"] == f"/api/produce/status/{body['requestId']}"
    assert answer["Retry-After"] == "1"
    pending = status(api, body["requestId"])
    assert pending["status"] == "pending"
    assert "offsets" not in pending
    assert new_worker().work_once() == 1
    completed = status(api, body["requestId"])
    assert completed["status"] == "completed"
    assert completed["topic"] == topic
    assert completed["recordCount"] == 2
    assert completed["completedAt"] >= completed["createdAt"]
    assert "error" not in completed
    for value, metadata in zip(["1", "2"], completed["offsets"], strict=True):
        (message,) = api.messages(topic, partition=metadata["partition"], offset=metadata["offset"], limit=1)
        assert message["value"] == value


def test_pending_carries_retry_after_and_completed_does_not(api: Api, topic: str) -> None:
    request_id = submit(api, topic, [{"value": 1}])
    path = f"/api/produce/status/{request_id}"

    assert api.get(path)["Retry-After"] == "1"
    new_worker().work_once()
    assert "Retry-After" not in api.get(path).headers


def test_prefer_respond_async_means_the_same(api: Api, topic: str) -> None:
    answer = api.post(f"/api/topics/{topic}/produce", {"records": [{"value": 1}]}, Prefer="wait=5, respond-async; x=1")

    assert answer.status_code == 202
    assert answer["Preference-Applied"] == "respond-async"


def test_an_unknown_request_is_404(api: Api) -> None:
    answer = api.get("/api/produce/status/req_0")

    assert answer.status_code == 404
    assert answer.json()["error"] == "request not found"


@pytest.mark.parametrize("body", ["{", '{"records":[]}', '{"records":[{"partition":true}]}'])
def test_what_can_be_known_at_once_is_not_deferred(api: Api, topic: str, body: str) -> None:
    assert api.produce(topic, body, async_="true").status_code == 400
    assert api.produce("nowhere", body, async_="true").status_code == 404
    assert not ProduceRequest.objects.exists()


def test_a_record_that_fails_stands_in_its_place(api: Api, topic: str) -> None:
    request_id = submit(api, topic, [{"value": "AA=="}, {"value": "?"}], value_format="binary")
    new_worker().work_once()

    found = status(api, request_id)

    assert found["status"] == "completed"
    assert "offset" in found["offsets"][0]
    assert found["offsets"][1]["code"] == "serialization_failed"


def test_it_failed_when_no_record_was_written(api: Api, topic: str) -> None:
    request_id = submit(api, topic, [{"value": "?"}, {"value": "!"}], value_format="binary")
    new_worker().work_once()

    found = status(api, request_id)

    assert found["status"] == "failed"
    assert found["error"] == "record 0: serialize value: '?' is not standard base64 (and 1 more)"
    assert [failure["retriable"] for failure in found["offsets"]] == [False, False]


def test_strict_holds_for_async_too(api: Api, topic: str) -> None:
    request_id = submit(api, topic, [{"value": "AA=="}, {"value": "?"}], value_format="binary", strict="true")
    new_worker().work_once()

    assert [failure["code"] for failure in status(api, request_id)["offsets"]] == [
        "not_attempted",
        "serialization_failed",
    ]
    assert not RecordBatch.objects.exists()


def test_the_topic_was_deleted_meanwhile(api: Api, topic: str) -> None:
    request_id = submit(api, topic, [{"value": 1}])
    api.client.delete(f"/api/topics/{topic}")
    new_worker().work_once()

    found = status(api, request_id)

    assert found["status"] == "failed"
    assert found["error"] == "there is no topic named 'orders'"


def test_ndjson_is_run_as_it_was_sent(api: Api, topic: str) -> None:
    answer = api.post(
        f"/api/topics/{topic}/produce?async=true", b'{"value": 1.10}\n{"value":2}\n', "application/x-ndjson"
    )
    new_worker().work_once()

    assert [record["value"] for record in api.messages(topic)] == ["1.10", "2"]
    assert status(api, answer.json()["requestId"])["recordCount"] == 2


def test_timestamps_are_those_of_acceptance(api: Api, topic: str) -> None:
    request_id = submit(api, topic, [{"value": 1}])
    created = ProduceRequest.objects.get(pk=request_id).created_at
    new_worker().work_once()

    assert api.messages(topic)[0]["timestamp"] == int(created.timestamp() * 1000)


def test_wait_answers_as_soon_as_it_is_done(api: Api, topic: str) -> None:
    request_id = submit(api, topic, [{"value": 1}])
    found: list[Any] = []

    def wait() -> None:
        found.append(status(Api(), request_id, "?wait=30"))
        connections.close_all()

    waiting = threading.Thread(target=wait)
    waiting.start()
    new_worker().work_once()
    waiting.join(20)

    assert found[0]["status"] == "completed"


def test_wait_gives_up_and_says_pending(api: Api, topic: str) -> None:
    assert status(api, submit(api, topic, [{"value": 1}]), "?wait=1")["status"] == "pending"


@pytest.mark.parametrize(
    "query",
    ["?wait=31", "?wait=-1", "?wait=x", "?wait=1_0", "?wait=%2B1", "?wait=%D9%A1", "?wait=1&wait=1", "?weight=1"],
)
def test_a_wrong_wait_is_400(api: Api, topic: str, query: str) -> None:
    request_id = submit(api, topic, [{"value": 1}])

    assert api.get(f"/api/produce/status/{request_id}{query}").status_code == 400


def expire_leases() -> None:
    ProduceRequest.objects.update(lease_until=Now() - timedelta(seconds=1))


def claim() -> list[ProduceRequest]:
    return transactions.commit(lambda: ProduceRequest.objects.claim(16))


def write(row: ProduceRequest) -> Ending:
    """Write a claimed request, as a worker does."""
    writer, job = DirectWriter(current_log()), Job(row)
    assert job.advance(current_log(), 10)
    ((_, ending, error),) = writer.write([job])
    end(row, ending, error)
    return ending


def test_a_claimed_request_is_not_claimed_again_until_its_lease_ends(api: Api, topic: str) -> None:
    submit(api, topic, [{"value": 1}])

    assert len(claim()) == 1
    assert claim() == []
    expire_leases()
    assert len(claim()) == 1


def test_a_lease_that_is_longer_than_any_is_void(api: Api, topic: str) -> None:
    """The database's clock was set back an hour while a worker that is dead since had claims, and a slot."""
    submit(api, topic, [{"value": 1}])
    (row,) = claim()
    transactions.commit(lambda: WorkerSlot.objects.take("dead"))

    ProduceRequest.objects.update(lease_until=Now() + timedelta(seconds=70))
    assert claim() == []
    assert not WorkerSlot.objects.free().exists()

    ProduceRequest.objects.update(lease_until=Now() + timedelta(hours=1))
    WorkerSlot.objects.update(lease_until=Now() + timedelta(hours=1))
    assert [again.pk for again in claim()] == [row.pk]
    assert WorkerSlot.objects.free().count() == 1


def test_a_worker_that_was_overtaken_rolls_back(api: Api, topic: str) -> None:
    """A worker paused past its lease must not append what another worker has appended since."""
    request_id = submit(api, topic, [{"value": 1}])
    (mine,) = claim()
    expire_leases()
    (theirs,) = claim()
    assert write(theirs) is Ending.WRITTEN

    assert write(mine) is Ending.OVERTAKEN

    assert len(api.messages(topic)) == 1
    assert RecordBatch.objects.count() == 1
    assert status(api, request_id)["status"] == "completed"


def test_a_renewed_lease_keeps_others_away(api: Api, topic: str) -> None:
    submit(api, topic, [{"value": 1}])
    (mine,) = claim()
    expire_leases()

    transactions.commit(lambda: ProduceRequest.objects.renew([mine]))

    assert claim() == []


def test_renewing_what_is_finished_meanwhile_is_no_news(api: Api, topic: str) -> None:
    """The lease thread of a busy worker warned that requests were overtaken, although the worker had written them."""
    for value in range(3):
        submit(api, topic, [{"value": value}])
    rows = claim()
    assert [write(row) for row in rows[:2]] == [Ending.WRITTEN, Ending.WRITTEN]
    expire_leases()

    with capture_logs() as lines:
        DirectWriter(current_log()).renew(rows)

    assert lines == []
    assert [row.pk for row in ProduceRequest.objects.filter(lease_until__gt=Now())] == [rows[2].pk]


def test_a_database_that_is_down_is_one_line_and_not_a_traceback_each_round(
    api: Api, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(api, topic, [{"value": 1}])
    rounds = threading.Semaphore(0)

    def fail(*_: Any) -> Any:
        rounds.release()
        raise StorageUnavailable("another process keeps the database locked")

    monkeypatch.setattr(loop, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(DirectWriter, "claim", fail)
    worker = new_worker()
    thread = threading.Thread(target=worker.loop)
    with capture_logs() as lines:
        thread.start()
        for _ in range(5):
            assert rounds.acquire(timeout=10)
        worker.stop()
        thread.join()

    (line,) = (line for line in lines if line["event"] == "worker_waits")
    assert line["error"] == "another process keeps the database locked"
    assert not [line for line in lines if "exc_info" in line]


def test_a_line_about_a_request_names_that_one_alone(api: Api, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator kept a request's id bound while its caller went on to others."""
    submit(api, topic, [{"value": 1}])
    seen: list[str] = []
    write_all = DirectWriter.write

    def writing(self: DirectWriter, jobs: Any) -> Any:
        seen.append(tracing.request_id.get())
        return write_all(self, jobs)

    monkeypatch.setattr(DirectWriter, "write", writing)
    with capture_logs(processors=[tracing.add_request_id]) as lines:
        new_worker().work_once()

    assert seen == [""]
    found = [line["httpRequestId"] for line in lines if line["event"] == "request_finished"]
    assert found == [ProduceRequest.objects.get().trace_id]


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds of a lease, for those who look at what a worker does while one runs out."""
    lease = timedelta(seconds=1.2)
    for module in (request_queryset, loop):
        monkeypatch.setattr(module, "LEASE", lease)
    return lease.total_seconds()


def test_a_worker_that_takes_longer_than_a_lease_keeps_what_it_has(
    api: Api, topic: str, short_lease: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It renews its leases in time: a second worker finds nothing to claim, and each record is written once."""
    begun, released = threading.Event(), threading.Event()

    def slowly(*arguments: Any) -> None:
        begun.set()
        released.wait(20)

    monkeypatch.setattr(type(current_log()), "check_writable", slowly)
    request_id = submit(api, topic, [{"value": 1}])
    worker = new_worker()
    thread = threading.Thread(target=worker.loop)
    thread.start()
    assert begun.wait(10)
    claims = []
    for _ in range(8):
        released.wait(short_lease / 4)
        claims += claim()
    released.set()
    worker.stop()
    thread.join()

    assert claims == []
    assert status(api, request_id)["status"] == "completed"
    assert len(api.messages(topic)) == 1


@pytest.fixture
def running() -> Iterator[Callable[[], Worker]]:
    """Start workers, whose loops end with the test."""
    workers: list[tuple[Worker, threading.Thread]] = []

    def start() -> Worker:
        worker = new_worker()
        thread = threading.Thread(target=worker.loop)
        workers.append((worker, thread))
        thread.start()
        return worker

    yield start
    for worker, thread in workers:
        worker.stop()
        thread.join(20)
        assert not thread.is_alive()


def until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_worker_tells_other_processes_that_it_works(api: Api, running: Callable[[], Worker]) -> None:
    worker = running()
    until(Heartbeat.objects.exists)
    assert Heartbeat.objects.get().pk.startswith(f"{socket.gethostname()[:60]}-{os.getpid()}-")
    assert worker.trouble is None

    worker.stop()
    worker.wait_until_ended(20)
    assert not Heartbeat.objects.exists()


def test_a_stuck_worker_no_longer_tells_that_it_works(
    api: Api, short_lease: float, running: Callable[[], Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, released = threading.Event(), threading.Event()
    monkeypatch.setattr(loop, "HEARTBEAT_SECONDS", short_lease)

    def hang(*_: Any) -> list[Any]:
        begun.set()
        released.wait(20)
        return []

    with monkeypatch.context() as patch:
        patch.setattr(DirectWriter, "claim", hang)
        worker = running()
        assert begun.wait(20)
        until(lambda: worker.trouble)
        Heartbeat.objects.all().delete()
        time.sleep(2 * short_lease)
        assert not Heartbeat.objects.exists()
    released.set()

    until(lambda: worker.trouble is None)
    until(Heartbeat.objects.exists)


def test_an_idle_worker_looks_for_what_nobody_told_it_about(
    api: Api, topic: str, running: Callable[[], Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[int] = []
    claimable = DirectWriter.claim

    def counted(self: DirectWriter, most: int) -> Any:
        rounds.append(most)
        return claimable(self, most)

    monkeypatch.setattr(DirectWriter, "claim", counted)
    running()
    until(lambda: rounds)
    # It waits between its rounds.
    time.sleep(1)
    assert len(rounds) < 50
    monkeypatch.setattr(wakeups, "work_arrived", lambda: None)
    request_id = submit(api, topic, [{"value": 1}])

    until(lambda: status(api, request_id)["status"] == "completed")


def test_a_lease_that_is_not_renewed_is_told_and_tried_again(
    api: Api, short_lease: float, running: Callable[[], Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [StorageUnavailable("the database is away"), RuntimeError("no luck")]
    renewed = threading.Event()

    def renew(*_: Any) -> None:
        if errors:
            raise errors.pop(0)
        renewed.set()

    monkeypatch.setattr(DirectWriter, "renew", renew)
    with capture_logs() as lines:
        running()
        assert renewed.wait(20)

    first, second = (line for line in lines if line["event"] == "lease_not_renewed")
    assert (first["log_level"], first["error"]) == ("warning", "the database is away")
    assert second["log_level"] == "error"


def test_claims_that_are_not_released_are_told(
    api: Api, running: Callable[[], Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise StorageUnavailable("the database is away")

    with capture_logs() as lines, monkeypatch.context() as patch:
        patch.setattr(DirectWriter, "close", fail)
        worker = running()
        worker.stop()
        worker.wait_until_ended(20)

    (line,) = (line for line in lines if line["event"] == "claims_not_released")
    assert (line["log_level"], line["error"]) == ("warning", "the database is away")


def test_a_worker_that_failed_holds_nothing_any_more(
    api: Api, topic: str, short_lease: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had in hand is another worker's once the lease is over, though this one goes on."""
    failed = threading.Event()

    def fail(*_: Any) -> None:
        failed.set()
        raise MemoryError

    submit(api, topic, [{"value": 1}])
    with monkeypatch.context() as patch:
        patch.setattr(loop, "has_given_up", fail)
        claimable = DirectWriter.claim
        patch.setattr(DirectWriter, "claim", lambda self, most: [] if failed.is_set() else claimable(self, most))
        worker = new_worker()
        thread = threading.Thread(target=worker.loop)
        with capture_logs() as lines:
            thread.start()
            assert failed.wait(10)
            until(lambda: lines)
        deadline = time.monotonic() + 10 * short_lease
        claimed: list[ProduceRequest] = []
        while not claimed and time.monotonic() < deadline:
            time.sleep(short_lease / 4)
            claimed = claim()
        worker.stop()
        thread.join()

    assert len(claimed) == 1
    assert [(line["event"], line["log_level"]) for line in lines] == [("worker_failed", "error")]


def test_whoever_waits_is_told_when_a_request_ends(api: Api, topic: str) -> None:
    done, failed = submit(api, topic, [{"value": 1}]), submit(api, topic, [{"value": 1}])
    ProduceRequest.objects.filter(pk=failed).update(attempts=MAX_ATTEMPTS)
    told: list[str] = []
    for request_id in (done, failed):
        wakeups.when_finished(request_id, functools.partial(told.append, request_id))

    worker = new_worker()
    while worker.work_once():
        pass

    assert sorted(told) == sorted([done, failed])
    assert not {done, failed} & set(wakeups.waited_for())


def test_a_poison_request_is_given_up_after_five_attempts(api: Api, topic: str) -> None:
    """It kills its worker each time, so that no `except` is ever reached: only the claim can count."""
    poison = submit(api, topic, [{"value": 1}])
    for _ in range(MAX_ATTEMPTS):
        assert len(claim()) == 1
        expire_leases()
    neighbour = submit(api, topic, [{"value": 2}])

    worker = new_worker()
    while worker.work_once():
        pass

    assert status(api, poison)["status"] == "failed"
    assert status(api, poison)["error"] == "gave up after 5 attempts: each one killed its worker"
    assert status(api, neighbour)["status"] == "completed"
    assert ProduceRequest.objects.get(pk=neighbour).attempts == 1


def test_a_request_tried_before_is_claimed_alone(api: Api, topic: str) -> None:
    for value in range(3):
        submit(api, topic, [{"value": value}])
    assert len(claim()) == 3
    expire_leases()

    assert [len(claim()) for _ in range(3)] == [1, 1, 1]


def test_a_log_that_is_down_costs_no_attempt(api: Api, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk full for a minute must not use up the attempts of what was accepted."""
    request_id = submit(api, topic, [{"value": 1}])

    def full(*args: Any, **kwargs: Any) -> Any:
        raise StorageFull("the disk of the embedded log is full or failing")

    with monkeypatch.context() as patch:
        patch.setattr(type(current_log()), "append", full)
        for _ in range(MAX_ATTEMPTS + 2):
            new_worker().work_once()
            expire_leases()
    new_worker().work_once()

    assert status(api, request_id)["status"] == "completed"


def test_an_unexpected_error_is_tried_again_with_its_reason_kept(
    api: Api, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = submit(api, topic, [{"value": 1}])

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no luck")

    with monkeypatch.context() as patch:
        patch.setattr(type(current_log()), "append_each", broken)
        for _ in range(MAX_ATTEMPTS + 1):
            new_worker().work_once()
            expire_leases()

    found = status(api, request_id)
    assert found["status"] == "failed"
    assert found["error"] == "gave up after 5 attempts: RuntimeError: no luck"


def test_cancel_ends_a_pending_request_and_overtakes_its_worker(api: Api, topic: str) -> None:
    request_id = submit(api, topic, [{"value": 1}])
    (running,) = claim()

    assert transactions.commit(ProduceRequest.objects.get(pk=request_id).cancel)

    assert write(running) is Ending.OVERTAKEN
    assert status(api, request_id)["status"] == "failed"
    assert status(api, request_id)["error"] == "cancelled"
    assert api.messages(topic) == []


def test_retry_runs_a_failed_request_again(api: Api, topic: str) -> None:
    request_id = submit(api, topic, [{"value": 1}])
    row = ProduceRequest.objects.get(pk=request_id)
    transactions.commit(row.cancel)

    cancelled = ProduceRequest.objects.get()
    transactions.commit(lambda: cancelled.retry("ada"))
    new_worker().work_once()

    assert status(api, request_id)["status"] == "completed"
    for done in (cancelled, ProduceRequest.objects.get()):
        with pytest.raises(NotRetried):
            transactions.commit(partial(done.retry, "ada"))
    assert len(api.messages(topic)) == 1


def test_stopping_gives_unstarted_requests_back(api: Api, topic: str) -> None:
    submit(api, topic, [{"value": 1}])
    worker = new_worker()
    worker.stop()
    worker.work_once()

    row = ProduceRequest.objects.get()
    assert (row.status, row.attempts) == (Status.PENDING, 0)
    assert len(claim()) == 1


def test_the_log_has_transactions(api: Api) -> None:
    log: Log = current_log()
    assert log.supports_transactions


@pytest.mark.parametrize(("claims", "most"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (8, 60), (50, 60)])
def test_attempts_are_further_and_further_apart(claims: int, most: float) -> None:
    waits = [back_off(ProduceRequest(claims=claims)) for _ in range(500)]

    assert 0.5 * most <= min(waits) < 0.55 * most
    assert 0.95 * most < max(waits) <= most


def test_a_change_that_comes_too_late_is_told(api: Api, topic: str) -> None:
    request_id = submit(api, topic, [{"value": 1}])
    (row,) = claim()
    assert transactions.commit(ProduceRequest.objects.get(pk=request_id).cancel)

    with capture_logs() as lines:
        save(row, lambda: row.fail("late", "too late"))

    assert lines == [{"event": "request_overtaken", "requestId": request_id, "attempt": 1, "log_level": "warning"}]
    assert status(api, request_id)["error"] == "cancelled"


def test_a_change_that_cannot_be_saved_is_told(api: Api, topic: str) -> None:
    submit(api, topic, [{"value": 1}])
    (row,) = claim()

    def full() -> None:
        raise StorageFull("the disk is full")

    with capture_logs() as lines:
        save(row, full)

    expected = {"event": "transition_failed", "requestId": row.pk, "error": "the disk is full", "log_level": "warning"}
    assert lines == [expected]


def test_the_last_attempt_is_the_fifth(api: Api, topic: str) -> None:
    request_id = submit(api, topic, [{"value": 1}])
    (row,) = claim()
    row.attempts = MAX_ATTEMPTS
    assert not has_given_up(row)
    assert status(api, request_id)["status"] == "pending"
    row.attempts = MAX_ATTEMPTS + 1
    finished: list[str] = []
    wakeups.when_finished(request_id, lambda: finished.append(request_id))

    assert has_given_up(row)
    assert finished == [request_id]
    assert status(api, request_id)["error"] == "gave up after 5 attempts: each one killed its worker"


def test_one_of_many_that_fails_costs_the_others_nothing(api: Api, topic: str) -> None:
    """They share a transaction, until one of them turns out to be cancelled."""
    ids = [submit(api, topic, [{"value": number}]) for number in range(5)]
    jobs = [Job(row) for row in claim()]
    assert transactions.commit(ProduceRequest.objects.get(pk=ids[2]).cancel)
    for job in jobs:
        assert job.advance(current_log(), 10)

    endings = [ending for _, ending, _ in DirectWriter(current_log()).write(jobs)]

    written = Ending.WRITTEN
    assert endings == [written, written, Ending.OVERTAKEN, written, written]
    assert [status(api, one)["status"] for one in ids] == ["completed", "completed", "failed", "completed", "completed"]
    stored = [json.loads(record["value"]) for number in range(3) for record in api.messages(topic, partition=number)]
    assert sorted(stored) == [0, 1, 3, 4]


@pytest.mark.parametrize(
    ("ending", "error", "line", "row"),
    [
        (
            Ending.FAILED,
            TopicNotFound("gone"),
            {
                "event": "request_finished",
                "status": "failed",
                "code": "topic_not_found",
                "error": "there is no topic named 'gone'",
                "topic": "orders",
                "records": 2,
                "written": 0,
                "failed": 2,
                "attempt": 1,
                "log_level": "warning",
            },
            ("failed", 1, "topic_not_found", "there is no topic named 'gone'"),
        ),
        (Ending.RETURNED, SessionStuck(["orders"]), None, ("pending", 0, "", "")),
        (
            Ending.RELEASED,
            StorageFull("the disk is full"),
            {"event": "request_released", "error": "the disk is full", "log_level": "warning"},
            ("pending", 0, "storage_full", "the disk is full"),
        ),
        (
            Ending.POSTPONED,
            error := RuntimeError("no luck"),
            {"event": "attempt_failed", "attempt": 1, "exc_info": error, "log_level": "error"},
            ("pending", 1, "internal_error", "RuntimeError: no luck"),
        ),
        (
            Ending.OVERTAKEN,
            Overtaken(),
            {"event": "request_overtaken", "attempt": 1, "log_level": "warning"},
            ("pending", 1, "", ""),
        ),
    ],
    ids=["failed", "returned", "released", "postponed", "overtaken"],
)
def test_what_becomes_of_a_request_and_what_is_logged(
    api: Api, topic: str, ending: Ending, error: Exception, line: Any, row: Any
) -> None:
    request_id = submit(api, topic, [{"value": 1}, {"value": 2}])
    (claimed,) = claim()

    with capture_logs() as lines:
        end(claimed, ending, error)

    assert lines == ([] if line is None else [{**line, "requestId": request_id}])
    found = ProduceRequest.objects.get()
    assert (found.status, found.attempts, found.code, found.error) == row
    # What is returned is tried again at once.
    assert len(claim()) == (ending is Ending.RETURNED)


@pytest.mark.parametrize("ending", [Ending.FAILED, Ending.RETURNED, Ending.RELEASED, Ending.POSTPONED])
def test_no_ending_changes_a_request_that_was_cancelled(api: Api, topic: str, ending: Ending) -> None:
    request_id = submit(api, topic, [{"value": 1}])
    (row,) = claim()
    transactions.commit(ProduceRequest.objects.get().cancel)

    with capture_logs() as lines:
        end(row, ending, StorageFull("the disk is full"))

    assert {"event": "request_overtaken", "requestId": request_id, "attempt": 1, "log_level": "warning"} in lines
    assert ProduceRequest.objects.get().status == Status.CANCELLED


def test_what_a_worker_wrote_is_logged(api: Api, topic: str) -> None:
    request_id = submit(api, topic, [{"value": 1}, {"value": 2, "partition": 99}])

    with capture_logs() as lines:
        new_worker().work_once()

    (line,) = (line for line in lines if line["event"] == "request_finished")
    assert line.pop("milliseconds") > 0
    assert line == {
        "event": "request_finished",
        "requestId": request_id,
        "topic": topic,
        "status": "partial",
        "code": "unknown_partition",
        "error": "record 1: partition 99 does not exist: the topic has partitions 0 to 2",
        "records": 2,
        "written": 1,
        "failed": 1,
        "attempt": 1,
        "log_level": "warning",
    }


def test_of_what_is_in_doubt_only_the_unexpected_counts_as_an_attempt(api: Api, topic: str) -> None:
    submit(api, topic, [{"value": 1}])
    (row,) = claim()
    what = {"event": "request_in_doubt", "requestId": row.pk}

    with capture_logs() as lines:
        end(row, Ending.IN_DOUBT, error := RuntimeError("no luck"))
    assert lines == [{**what, "attempt": 1, "exc_info": error, "log_level": "error"}]
    assert ProduceRequest.objects.get().attempts == 1

    with capture_logs() as lines:
        end(row, Ending.IN_DOUBT, unknown := OutcomeUnknown("who knows"))
    assert lines == [{**what, "error": str(unknown), "log_level": "warning"}]
    assert ProduceRequest.objects.get().attempts == 0
    assert ProduceRequest.objects.get().lease_until is not None


def test_a_record_that_may_be_written_later_is_tried_again_with_its_reason(
    api: Api, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(api, topic, [{"value": 1}])
    (row,) = claim()
    job = Job(row)
    assert job.advance(current_log(), 10)
    failed = Outcomes([RecordFailure("record 0: later", "queue_full", True)])
    monkeypatch.setattr(TopicPlan, "outcomes", lambda *_: failed)

    ((_, ending, error),) = DirectWriter(current_log()).write([job])

    assert (ending, str(error)) == (Ending.RELEASED, "record 0: later")
    assert api.messages(topic) == []
