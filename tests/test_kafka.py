"""The API on a Kafka cluster: librdkafka's mock one, whose brokers can be stopped and told to fail."""

import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError
from django.conf import settings as django_settings
from django.db import connections
from structlog.testing import capture_logs

from core import tracing
from core.database.checks import describe
from core.errors import StorageUnavailable
from devservers.mock_kafka import ApiKey, MockCluster
from producer.models import MAX_ATTEMPTS, NotRetried, ProduceRequest, Status, WorkerSlot
from producer.queue.loop import Worker
from producer.queue.session_writer import SlotLost
from producer.queue.threads import new_worker
from tests.conftest import Api
from topics import log
from topics.log import current_log
from topics.log.kafka.log import KafkaLog
from topics.log.kafka.reader import Reader
from topics.log.kafka.transactions import TransactionalProducer

KAFKA = "topics.log.kafka.log.KafkaLog"


@pytest.fixture
def cluster(settings: Any) -> Iterator[MockCluster]:
    """Three brokers with the topic orders of three partitions, and the API on them."""
    with MockCluster(3) as made:
        made.create_topic("orders", 3, 3)
        settings.KAFKA = {"bootstrap.servers": made.bootstrap}
        settings.TAKHIN_PRODUCE_TIMEOUT = 7
        settings.TOPIC_LOG = KAFKA
        yield made
        log.forget()


def kafka_log() -> KafkaLog:
    found = current_log()
    assert isinstance(found, KafkaLog)
    return found


def until(is_so: Any, what: str) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_it_works(cluster: MockCluster, api: Api) -> None:
    records = [{"key": "a", "value": 1.10}, {"key": None, "value": None, "headers": [{"key": "h", "value": None}]}]
    answer = api.produce("orders", records, compression="zstd")

    assert answer.status_code == 200
    for record, metadata in zip(records, answer.json()["offsets"], strict=True):
        (message,) = api.messages("orders", partition=metadata["partition"], offset=metadata["offset"], limit=1)
        assert message["value"] == (None if record["value"] is None else "1.1")
        assert [header["key"] for header in message["headers"]] == [h["key"] for h in record.get("headers", [])]  # type: ignore[attr-defined]
    until(ProduceRequest.objects.exists, "it is saved after the response")
    row = ProduceRequest.objects.get()
    assert (row.status, row.written_count) == (Status.COMPLETED, 2)


def test_records_that_fail_leave_the_others_alone(cluster: MockCluster, api: Api) -> None:
    records = [
        {"partition": 0, "value": "fine"},
        {"partition": 9, "value": "no such partition"},
        {"partition": 0, "value": "at the beginning of time", "timestamp": 0},
        {"partition": 0, "value": "h", "headers": [{"key": "a\0b", "value": "x"}]},
        {"partition": 0, "value": "fine too"},
    ]
    outcomes = api.produce("orders", records).json()["offsets"]

    assert [outcome.get("code") for outcome in outcomes] == [
        None,
        "unknown_partition",
        "invalid_timestamp",
        "invalid_record",
        None,
    ]
    assert outcomes[2]["error"] == "record 2: the Kafka client cannot write timestamp 0; the minimum is 1"
    assert [message["value"] for message in api.messages("orders", partition=0)] == ['"fine"', '"fine too"']


def test_a_strict_request_with_a_record_that_cannot_be_sent_writes_nothing(cluster: MockCluster, api: Api) -> None:
    """The others were written, for the client that refuses such a record was asked too late."""
    records = [{"partition": 0, "value": 1}, {"partition": 0, "value": 2, "timestamp": 0}]
    outcomes = api.produce("orders", records, strict="true").json()["offsets"]

    assert [outcome["code"] for outcome in outcomes] == ["not_attempted", "invalid_timestamp"]
    assert api.messages("orders", partition=0) == []
    # The request's own error is the cause, not what came of it.
    assert ProduceRequest.objects.get().error.startswith("record 1: the Kafka client cannot write timestamp 0")


def test_an_unknown_topic_is_404(cluster: MockCluster, api: Api) -> None:
    answer = api.produce("nowhere", [{"value": 1}])

    assert (answer.status_code, answer.json()["code"]) == (404, "topic_not_found")
    # Asking must not have made it.
    assert api.produce("nowhere", [{"value": 1}]).status_code == 404


def test_a_topic_made_elsewhere_is_seen(cluster: MockCluster, api: Api) -> None:
    assert api.produce("fresh", [{"value": 1}]).status_code == 404
    cluster.create_topic("fresh", 2)

    until(lambda: api.produce("fresh", [{"value": 1}]).status_code == 200, "the new topic is not seen")


@pytest.mark.parametrize("is_async", [False, True])
def test_a_partition_that_was_added_is_written_at_once(cluster: MockCluster, api: Api, is_async: bool) -> None:
    """The gateway chose it, and its client refused it for five minutes, until it looked for new partitions."""
    cluster.create_topic("_takhin_outcomes", 16)
    worker = new_worker()

    def produce(partition: int) -> Any:
        answer = api.produce("fresh", [{"partition": partition, "value": 1}], async_=str(is_async).lower())
        if is_async:
            worker.work_once()
            answer = api.get(answer["Location"])
        return answer.json()

    cluster.create_topic("fresh", 1)
    until(lambda: api.produce("fresh", [{"value": 1}]).status_code == 200, "the new topic is not seen")
    assert produce(0)["offsets"][0]["partition"] == 0
    # The mock cannot add partitions.
    cluster.delete_topic("fresh")
    cluster.create_topic("fresh", 4)
    until(lambda: kafka_log().partition_count("fresh") == 4, "the new partitions are not seen")

    assert produce(3)["offsets"] == [{"partition": 3, "offset": 0, "timestamp": 1234}]


@pytest.mark.parametrize(
    "topic", ["__consumer_offsets", "__transaction_state", "_schemas", "_takhin_outcomes", "_takhin_new"]
)
@pytest.mark.parametrize("exists", [True, False])
def test_internal_topics_are_nobodys(cluster: MockCluster, api: Api, settings: Any, topic: str, exists: bool) -> None:
    """Who wrote to `_schemas` changed the schemas of every subject."""
    settings.TAKHIN_AUTO_CREATE_TOPICS = True
    if exists:
        cluster.create_topic(topic, 1)

    answers = [
        api.produce(topic, [{"value": 1}]),
        api.produce(topic, [{"value": 1}], async_="true"),
        api.produce(topic, b'{"value": 1}'),
        api.get(f"/api/topics/{topic}/messages"),
        api.get(f"/api/topics/{topic}"),
        api.post("/api/topics", {"name": topic, "partitions": 1}),
        api.client.patch(f"/api/topics/{topic}", "{}", content_type="application/json"),
        api.client.delete(f"/api/topics/{topic}"),
    ]

    assert {answer.status_code for answer in answers} == {403}
    assert {answer.json()["code"] for answer in answers} == {"reserved_topic"}
    assert topic not in [found["name"] for found in api.get("/api/topics").json()]


@pytest.mark.parametrize("topic", ["_own", "schemas", "_schemas2", "takhin_x", "x__y"])
def test_other_names_are_not_reserved(cluster: MockCluster, api: Api, topic: str) -> None:
    cluster.create_topic(topic, 1)

    assert api.produce(topic, [{"value": 1}]).status_code == 200


# What the broker says once of a produce request -> (status, code of the record, retriable).
REFUSED = {
    KafkaError.MSG_SIZE_TOO_LARGE: "msg_size_too_large",
    KafkaError.INVALID_RECORD: "invalid_record",
    KafkaError.INVALID_TIMESTAMP: "invalid_timestamp",
    KafkaError.POLICY_VIOLATION: "policy_violation",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "topic_authorization_failed",
    KafkaError.TOPIC_EXCEPTION: "topic_exception",
    KafkaError.UNSUPPORTED_COMPRESSION_TYPE: "unsupported_compression_type",
}
RIDDEN_OUT = [
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.KAFKA_STORAGE_ERROR,
    KafkaError._TRANSPORT,
]


@pytest.mark.parametrize("error", REFUSED)
def test_what_a_broker_refuses_is_that_records_own_error(cluster: MockCluster, api: Api, error: int) -> None:
    # Twice, because what is refused with its batch is sent again alone.
    cluster.push_errors(ApiKey.PRODUCE, error, error)
    answer = api.produce("orders", [{"partition": 0, "value": 1}])

    assert answer.status_code == 422
    (outcome,) = answer.json()["offsets"]
    assert (outcome["code"], outcome["retriable"]) == (REFUSED[error], False)
    assert outcome["error"].startswith("record 0: ")
    # Not at once after an authorization error: the client remembers it until it reads its metadata again.
    until(lambda: api.produce("orders", [{"partition": 0, "value": 1}]).status_code == 200, "it is refused for ever")


@pytest.mark.parametrize("error", RIDDEN_OUT)
def test_trouble_that_passes_within_the_time_is_not_seen(cluster: MockCluster, api: Api, error: int) -> None:
    cluster.push_errors(ApiKey.PRODUCE, error, error)
    answer = api.produce("orders", [{"partition": 0, "value": 1}])

    assert answer.status_code == 200, answer.content
    assert len(api.messages("orders", partition=0)) == 1


@pytest.mark.parametrize("error", [KafkaError.NETWORK_EXCEPTION, KafkaError.UNKNOWN])
def test_what_says_nothing_of_the_record_leaves_it_in_doubt(cluster: MockCluster, api: Api, error: int) -> None:
    cluster.push_errors(ApiKey.PRODUCE, error)
    answer = api.produce("orders", [{"partition": 0, "value": 1}])

    assert (answer.status_code, answer.json()["code"]) == (504, "outcome_unknown")


def test_a_leader_that_moves_and_a_broker_that_dies_are_not_seen(cluster: MockCluster, api: Api) -> None:
    for broker in (1, 2, 3):
        assert api.produce("orders", [{"partition": 0, "value": broker}]).status_code == 200
        cluster.move_leader("orders", 0, broker % 3 + 1)
        cluster.stop_broker(broker)
        assert api.produce("orders", [{"partition": 0, "value": broker}]).status_code == 200
        cluster.start_broker(broker)


def test_an_acknowledgement_that_does_not_come_is_no_failure(cluster: MockCluster, api: Api) -> None:
    assert api.produce("orders", [{"partition": 0, "value": 1}]).status_code == 200
    cluster.set_round_trip(2000)
    answer = api.produce("orders", [{"partition": 0, "value": 2}], timeout="200")

    assert answer.status_code == 504
    assert answer.json()["code"] == "outcome_unknown"
    assert not answer.json()["retriable"]
    assert "Retry-After" not in answer
    (outcome,) = answer.json()["offsets"]
    assert (outcome["code"], outcome["retriable"]) == ("outcome_unknown", False)
    assert "sending it again may write it twice" in outcome["error"]
    row = ProduceRequest.objects.latest("id")
    assert row.is_in_doubt
    with pytest.raises(NotRetried, match="it is unknown whether its records were written"):
        row.retry("ada")
    cluster.set_round_trip(0)
    until(lambda: len(api.messages("orders", partition=0)) == 2, "it was written after all")


@pytest.mark.parametrize("timeout", ["0", "-1", "x", "1.5", "1_0", ""])
def test_a_wrong_timeout_is_400(cluster: MockCluster, api: Api, timeout: str) -> None:
    answer = api.produce("orders", [{"value": 1}], timeout=timeout)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")


def test_a_cluster_that_is_gone_is_refused_at_once_and_comes_back(cluster: MockCluster, api: Api) -> None:
    assert api.produce("orders", [{"value": 1}]).status_code == 200
    cluster.stop_all()
    until(lambda: kafka_log().cluster.breaker.is_open, "the breaker stays closed")

    answer = api.produce("orders", [{"value": 2}])
    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert answer.json()["retriable"]
    (outcome,) = answer.json()["offsets"]
    assert (outcome["code"], outcome["retriable"]) == ("log_unavailable", True)
    # What was known is still known, and what was never known is not called unknown.
    assert api.produce("nowhere", [{"value": 1}]).status_code == 503
    assert api.get("/api/topics").status_code == 503
    assert api.get("/api/topics/orders/messages").status_code == 503
    # Async requests are still taken, so that the gateway stays in the balance.
    assert api.produce("orders", [{"value": 3}], async_="true").status_code == 202
    ready = api.get("/api/health/ready").json()
    assert ready["reasons"]["log"].startswith("the Kafka cluster ")
    assert ready == {"ready": True, "database": describe(), "degraded": ["log"], "reasons": ready["reasons"]}
    health = api.get("/api/health")
    assert (health.status_code, health.json()["checks"]["log"]) == (503, False)
    assert ProduceRequest.objects.filter(mode="sync", status=Status.FAILED).count() == 1

    cluster.start_all()
    until(lambda: not kafka_log().cluster.breaker.is_open, "the breaker stays open")
    until(lambda: api.produce("orders", [{"value": 4}]).status_code == 200, "it does not come back")
    assert api.get("/api/health").status_code == 200


def test_a_cluster_that_answers_but_takes_nothing_is_left_alone_for_a_while(cluster: MockCluster, api: Api) -> None:
    """Its metadata is fine, so only requests can tell: five errors in a row, and then one trial at a time."""

    def produce() -> int:
        status: int = api.produce("orders", [{"partition": 0, "value": 1}]).status_code
        return status

    assert produce() == 200
    cluster.push_errors(ApiKey.PRODUCE, *[KafkaError.UNKNOWN] * 6)
    statuses = [produce() for _ in range(6)]
    # A quick error alone proves little, and a trial may be among them.
    assert statuses[0] == 504
    assert 503 in statuses
    assert {*statuses} == {503, 504}
    # Nothing is wrong with the other partitions.
    assert api.produce("orders", [{"partition": 1, "value": 1}]).status_code in (200, 504)
    cluster.clear_errors(ApiKey.PRODUCE)
    until(lambda: produce() == 200, "it is never tried again")
    assert [produce() for _ in range(3)] == [200] * 3


def test_only_a_share_of_the_threads_waits_for_a_partition_that_hangs(cluster: MockCluster, api: Api) -> None:
    """All were held, until the last of its requests had timed out."""
    assert api.produce("orders", [{"partition": 0, "value": 1}]).status_code == 200
    cluster.set_round_trip(60_000)
    share = django_settings.TAKHIN_THREADS // 4
    statuses: list[int] = []

    def produce() -> None:
        try:
            statuses.append(api.produce("orders", [{"partition": 0, "value": 1}]).status_code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=produce) for _ in range(3 * share)]
    for thread in threads:
        thread.start()
    until(lambda: len(statuses) == 2 * share, "the others wait, too")

    refused = api.produce("orders", [{"partition": 0, "value": 1}])
    assert refused.status_code == 503
    assert "too many requests wait for partition 0 of topic 'orders'" in refused.json()["offsets"][0]["error"]
    assert len(statuses) == 2 * share
    for thread in threads:
        thread.join()
    assert statuses == [504] * 3 * share
    cluster.set_round_trip(0)
    until(lambda: api.produce("orders", [{"partition": 0, "value": 1}]).status_code == 200, "it is never tried again")


def test_a_cluster_that_never_answered_is_503_and_not_404(api: Api, settings: Any) -> None:
    settings.KAFKA = {"bootstrap.servers": "127.0.0.1:9"}
    settings.TOPIC_LOG = KAFKA

    assert api.produce("orders", [{"value": 1}]).status_code == 503
    # A probe is answered within a second, a check may take two before it is thought to fail.
    until(lambda: api.get("/api/health/ready").json().get("degraded") == ["log"], "the log is not reported")


def test_a_full_queue_is_503_and_writes_nothing(cluster: MockCluster, api: Api, settings: Any) -> None:
    settings.KAFKA = {**settings.KAFKA, "queue.buffering.max.messages": "10"}
    log.forget()
    answer = api.produce("orders", [{"value": number} for number in range(11)])

    assert answer.status_code == 503
    assert {outcome["code"] for outcome in answer.json()["offsets"]} == {"queue_full"}
    assert api.messages("orders") == []
    assert api.produce("orders", [{"value": number} for number in range(10)]).status_code == 200
    # The room that a request took is given back.
    assert api.produce("orders", [{"value": number} for number in range(10)]).status_code == 200


def test_requests_at_the_same_time_get_their_own_offsets(cluster: MockCluster, api: Api, settings: Any) -> None:
    # As many threads as may wait for one partition.
    writers, requests = settings.TAKHIN_THREADS // 4, 40
    found: dict[tuple[int, int], str] = {}
    lock = threading.Lock()

    def produce(writer: int) -> None:
        client = Api()
        for number in range(requests):
            records = [{"key": f"{writer}-{number}-{index}", "value": index} for index in range(5)]
            response = client.produce("orders", records)
            assert all("offset" in outcome for outcome in response.json()["offsets"]), response.content
            with lock:
                for record, outcome in zip(records, response.json()["offsets"], strict=True):
                    found[outcome["partition"], outcome["offset"]] = str(record["key"])
        connections.close_all()

    threads = [threading.Thread(target=produce, args=[writer]) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    stored = {
        (message["partition"], message["offset"]): message["key"].strip('"')
        for partition in range(3)
        for message in api.messages("orders", partition=partition, limit=1000)
    }
    assert stored == found
    assert len(found) == writers * requests * 5


def test_closing_delivers_what_is_on_its_way(cluster: MockCluster, api: Api) -> None:
    assert api.produce("orders", [{"partition": 0, "value": 1}]).status_code == 200
    cluster.set_round_trip(500)
    assert api.produce("orders", [{"partition": 0, "value": 2}], timeout="1").status_code == 504
    log.forget()
    cluster.set_round_trip(0)

    assert [message["value"] for message in api.messages("orders", partition=0)] == ["1", "2"]


def test_closing_leaves_no_client_for_a_forked_child(cluster: MockCluster, api: Api) -> None:
    """A server whose start had used the log handed a client on, and now and then hung when it collected its garbage."""
    assert api.produce("orders", [{"value": 1}]).status_code == 200
    client = weakref.ref(kafka_log().cluster)
    kafka_log().close()

    assert client() is None


def test_a_clusters_topic_is_closed_to_new_schemas(cluster: MockCluster, api: Api) -> None:
    changed = api.client.patch("/api/topics/orders", {"registersSchemas": False}, "application/json")
    body = '{"valueSchema":"string","records":[{"value":"a"}]}'

    assert changed.json()["registersSchemas"] is False
    assert api.produce("orders", body, value_format="avro").json()["code"] == "registration_forbidden"
    assert api.produce("orders", [{"value": 1}]).status_code == 200


def test_a_worker_that_has_lost_its_slot_claims_nothing_for_it(cluster: MockCluster, api: Api) -> None:
    """What it claimed waited in that slot until its new owner ended."""
    cluster.create_topic("_takhin_outcomes", 16)
    worker = new_worker()
    api.produce("orders", [{"value": 1}], async_="true")
    assert worker.work_once() == 1
    assert ProduceRequest.objects.get().status == Status.COMPLETED

    WorkerSlot.objects.update(owner="another worker")
    api.produce("orders", [{"value": 2}], async_="true")

    with pytest.raises(SlotLost):
        worker.work_once()
    left = ProduceRequest.objects.latest("id")
    assert (left.status, left.slot, left.attempts) == (Status.PENDING, None, 0)
    # It goes on in a slot of its own.
    assert worker.work_once() == 1
    assert set(ProduceRequest.objects.values_list("status", flat=True)) == {Status.COMPLETED}


@pytest.fixture
def receipts(cluster: MockCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The topic of receipts, which the mock cluster cannot search by time."""
    cluster.create_topic("_takhin_outcomes", 16)
    monkeypatch.setattr(Reader, "offset_at", lambda *_: 0)


def run_dry(worker: Worker) -> None:
    for _ in range(20):
        worker.work_once()


def test_an_unexpected_error_after_the_commit_writes_nothing_twice(
    receipts: None, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = new_worker()
    commit = TransactionalProducer.commit
    api.produce("orders", [{"value": "once"}], async_="true")

    def commit_and_fail(*args: Any) -> None:
        commit(*args)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(TransactionalProducer, "commit", commit_and_fail)
        worker.work_once()
    assert ProduceRequest.objects.get().status == Status.PENDING
    run_dry(worker)

    assert ProduceRequest.objects.get().status == Status.COMPLETED
    assert [message["value"] for message in api.messages("orders")] == ['"once"']


def test_a_request_that_always_fails_in_a_session_is_given_up(
    receipts: None, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = new_worker()
    api.produce("orders", [{"value": 1}], async_="true")

    def fail(*_: Any) -> None:
        raise RuntimeError("no luck")

    with monkeypatch.context() as patch:
        patch.setattr(TransactionalProducer, "send", fail)
        run_dry(worker)

    row = ProduceRequest.objects.get()
    assert (row.status, row.attempts) == (Status.FAILED, MAX_ATTEMPTS + 1)
    assert row.error.startswith("gave up after 5 attempts")
    assert api.messages("orders") == []


def test_the_database_down_after_the_commit_writes_nothing_twice(
    receipts: None, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = new_worker()
    api.produce("orders", [{"value": "once"}], async_="true")

    def fail(*_: Any) -> None:
        raise StorageUnavailable("the database cannot be reached or is busy")

    with monkeypatch.context() as patch:
        patch.setattr(ProduceRequest, "complete", fail)
        worker.work_once()
    run_dry(worker)

    assert ProduceRequest.objects.get().status == Status.COMPLETED
    assert len(api.messages("orders")) == 1


def test_receipts_that_are_rejected_are_told_and_leave_nothing_in_doubt(
    cluster: MockCluster, receipts: None, api: Api
) -> None:
    """Several receipts share a transaction, and the first one's outcome was taken for the only one."""
    for number in range(3):
        api.produce("orders", [{"partition": 0, "value": number}], async_="true")
    worker = new_worker()
    cluster.push_errors(ApiKey.PRODUCE, KafkaError.NO_ERROR, KafkaError.TOPIC_AUTHORIZATION_FAILED)

    with capture_logs() as lines:
        worker.work_once()

    assert [line["event"] for line in lines if line["event"] != "request_finished"] == ["request_released"] * 3
    assert "Kafka rejects the receipts" in (worker.trouble or "")
    assert set(ProduceRequest.objects.values_list("status", "slot", "attempts")) == {(Status.PENDING, None, 0)}


def test_every_line_of_a_session_worker_names_its_request(receipts: None, api: Api) -> None:
    worker = new_worker()
    body = {"records": [{"value": 1}]}
    api.post("/api/topics/orders/produce?async=true", body, **{"X-Request-Id": "one-of-mine"})

    with capture_logs(processors=[tracing.add_request_id]) as lines:
        worker.work_once()

    assert [line["httpRequestId"] for line in lines if line["event"] == "request_finished"] == ["one-of-mine"]


def test_async_requests_of_very_many_records_are_written(cluster: MockCluster, api: Api) -> None:
    """Together they are more records than the client queues: none of them was ever written."""
    cluster.create_topic("_takhin_outcomes", 16)
    worker = new_worker()
    body = "\n".join(['{"value":1}'] * 10_000)
    for _ in range(12):
        answer = api.post("/api/topics/orders/produce?async=true", body, "application/x-ndjson")
        assert answer.status_code == 202
    worker.work_once()

    assert set(ProduceRequest.objects.values_list("status", "written_count")) == {(Status.COMPLETED, 10_000)}
