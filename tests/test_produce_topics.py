"""One request writes to several topics, and all or nothing if it asks for that."""

import json
import time
from typing import Any

import pytest

from core.errors import OutcomeUnknown
from producer.models import ProduceRequest
from producer.queue.threads import new_worker
from registry.sources.embedded import EmbeddedRegistry
from tests.conftest import Api
from tests.test_keys import make_key
from topics.log import current_log
from topics.log.memory import MemoryLog

ORDER = {"topic": "orders", "key": "o-7", "value": {"amount": 1.10}}
PAYMENT = {"topic": "payments", "key": "o-7", "value": [1]}


@pytest.fixture
def both(api: Api) -> Api:
    api.create_topic("orders", 3)
    api.create_topic("payments", 1)
    return api


def send(api: Api, body: Any, query: str = "", content_type: str = "application/json", **headers: str) -> Any:
    return api.post(
        f"/api/produce{query}", {"records": body} if isinstance(body, list) else body, content_type, **headers
    )


def values(api: Api, topic: str) -> list[str]:
    count = len(api.get(f"/api/topics/{topic}").json()["partitions"])
    return [message["value"] for number in range(count) for message in api.messages(topic, partition=number)]


def test_it_works(both: Api) -> None:
    answer = send(both, [ORDER, PAYMENT, {**ORDER, "value": 2}])

    assert answer.status_code == 200
    first, second, third = answer.json()["offsets"]
    assert [entry["topic"] for entry in (first, second, third)] == ["orders", "payments", "orders"]
    assert second["partition"] == second["offset"] == 0
    assert third["partition"] == first["partition"]
    assert third["offset"] == first["offset"] + 1
    assert values(both, "orders") == ['{"amount": 1.1}', "2"]
    assert values(both, "payments") == ["[1]"]


def test_lines_name_their_topics(both: Api) -> None:
    body = '{"topic":"orders","value":1.10}\n\n{"topic":"payments","value":2}\n'

    answer = send(both, body, content_type="application/x-ndjson")

    assert [entry["topic"] for entry in answer.json()["offsets"]] == ["orders", "payments"]
    assert (values(both, "orders"), values(both, "payments")) == (["1.10"], ["2"])


def test_a_large_request_is_in_order(both: Api) -> None:
    records = [{"topic": ("orders", "payments")[number % 2], "key": "k", "value": number} for number in range(1000)]

    offsets = send(both, records, "?compression=zstd").json()["offsets"]

    assert [entry["topic"] for entry in offsets] == ["orders", "payments"] * 500
    assert [entry["offset"] for entry in offsets] == [number // 2 for number in range(1000)]
    messages = [both.messages("payments", partition=0, offset=start, limit=100) for start in range(0, 500, 100)]
    assert [int(one["value"]) for part in messages for one in part] == list(range(1, 1000, 2))


def test_a_missing_topic_is_its_records_error(both: Api) -> None:
    answer = send(both, [{"topic": "nowhere", "value": 1}, ORDER, {"topic": "bad name!", "value": 1}])

    assert answer.status_code == 200
    missing, written, invalid = answer.json()["offsets"]
    assert missing == {
        "error": "record 0: there is no topic named 'nowhere'",
        "code": "topic_not_found",
        "retriable": False,
        "topic": "nowhere",
    }
    assert written["offset"] == 0
    assert invalid["code"] == "topic_not_found"


@pytest.mark.parametrize("query", ["", "?async=true", "?atomic=true"])
def test_only_missing_topics_are_404(both: Api, query: str) -> None:
    answer = send(both, [{"topic": "nowhere", "value": 1}, {"topic": "\0", "value": 1}], query)

    assert answer.status_code == 404
    assert answer.json()["code"] == "topic_not_found"
    assert not ProduceRequest.objects.exists()


def test_a_topic_is_created_if_the_server_may(both: Api, settings: Any) -> None:
    settings.TAKHIN_AUTO_CREATE_TOPICS = True

    answer = send(both, [ORDER, {"topic": "fresh", "value": 1}, {"topic": "no good", "value": 1}])

    assert [entry.get("code") for entry in answer.json()["offsets"]] == [None, None, "topic_not_found"]
    assert values(both, "fresh") == ["1"]


@pytest.mark.parametrize("query", ["?atomic=true", "?strict=true"])
@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"topic": "payments", "partition": 1}, "unknown_partition"),
        ({"topic": "nowhere"}, "topic_not_found"),
        ({"topic": "payments", "headers": [{"key": "h", "value": {"base64": "?"}}]}, "serialization_failed"),
    ],
)
def test_one_bad_record_stops_all_topics(both: Api, query: str, bad: dict[str, Any], code: str) -> None:
    answer = send(both, [ORDER, bad, PAYMENT], query)

    assert answer.status_code == 422
    assert [entry["code"] for entry in answer.json()["offsets"]] == ["not_attempted", code, "not_attempted"]
    assert [entry["topic"] for entry in answer.json()["offsets"]] == ["orders", bad["topic"], "payments"]
    assert "record 1: " in answer.json()["offsets"][1]["error"]
    assert values(both, "orders") == values(both, "payments") == []
    assert send(both, [ORDER, PAYMENT], query).status_code == 200
    assert len(values(both, "orders")) == len(values(both, "payments")) == 1


def test_all_topics_share_one_transaction(both: Api) -> None:
    """A failure in the second topic's append takes the first one's back."""
    both.client.delete("/api/topics/payments")
    current_log()._partition_ids._known["payments"] = (float("inf"), [999_999])  # type: ignore[attr-defined]

    answer = send(both, [ORDER, PAYMENT], "?atomic=true")

    assert answer.status_code == 404
    assert values(both, "orders") == []


def test_atomic_works_for_one_topic_too(both: Api) -> None:
    answer = both.produce("orders", [{"value": 1}, {"partition": 9}], atomic="true")

    assert answer.status_code == 422
    assert [entry["code"] for entry in answer.json()["offsets"]] == ["not_attempted", "unknown_partition"]
    assert both.produce("orders", [{"value": 1}], atomic="true").status_code == 200


def test_a_log_without_transactions_refuses_atomic_requests(both: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    log = MemoryLog()
    log.create_topic("orders", 1)
    monkeypatch.setattr("producer.api.views.current_log", lambda: log)

    answer = both.produce("orders", [{"value": 1}], atomic="true")

    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_parameter"


def test_async_requests_write_to_several_topics(both: Api) -> None:
    answer = send(both, [ORDER, {"topic": "nowhere", "value": 1}, PAYMENT], "?async=true")
    path = f"/api/produce/status/{answer.json()['requestId']}"
    pending = both.get(path).json()
    new_worker().work_once()
    found = both.get(path).json()

    assert answer.status_code == 202
    assert pending["status"] == "pending"
    assert pending["topics"] == ["orders", "payments"]
    assert found["status"] == "completed"
    assert [entry["topic"] for entry in found["offsets"]] == ["orders", "nowhere", "payments"]
    assert found["offsets"][1]["code"] == "topic_not_found"
    assert len(values(both, "orders")) == len(values(both, "payments")) == 1


def test_an_atomic_async_request_writes_all_or_nothing(both: Api) -> None:
    answer = send(both, [ORDER, {"topic": "payments", "partition": 5}], "?async=true&atomic=true")
    new_worker().work_once()

    found = both.get(f"/api/produce/status/{answer.json()['requestId']}").json()

    assert found["status"] == "failed"
    assert [entry["code"] for entry in found["offsets"]] == ["not_attempted", "unknown_partition"]
    assert values(both, "orders") == []


@pytest.mark.parametrize("query", ["", "?async=true", "?atomic=true"])
def test_a_retry_with_a_key_writes_nothing(both: Api, query: str) -> None:
    first, again = (send(both, [ORDER, PAYMENT], query, **{"Idempotency-Key": "k"}) for _ in range(2))
    new_worker().work_once()

    assert first.json() == again.json()
    assert again["Idempotent-Replayed"] == "true"
    assert len(values(both, "orders")) == len(values(both, "payments")) == 1


def test_each_topic_may_have_its_own_format_and_schema(both: Api) -> None:
    schema = '{"type":"record","name":"Payment","fields":[{"name":"amount","type":"int"}]}'
    schema_id = EmbeddedRegistry().id_of_text("payments-value", schema, "")
    body = {
        "records": [{"topic": "orders", "value": "AQID"}, {"topic": "payments", "value": {"amount": 5}}],
        "topics": {"orders": {"valueFormat": "binary"}, "payments": {"valueFormat": "avro"}},
    }

    answer = send(both, body)

    assert answer.status_code == 200, answer.content
    assert answer.json()["schemas"] == {"payments": {"valueSchemaId": schema_id}}
    (order,) = both.messages("orders", partition=answer.json()["offsets"][0]["partition"])
    assert (order["value"], order["valueEncoding"]) == ("\x01\x02\x03", "utf-8")
    (payment,) = both.messages("payments", decode="true")
    assert payment["value"] == '{"amount":5}'


@pytest.mark.parametrize("schema", ["payment:1", "payment", {"type": "int"}, '{"type":"int"}', 0])
def test_a_topics_schema_is_named_inline_or_a_number(both: Api, schema: Any) -> None:
    schema_id = EmbeddedRegistry().id_of_text("payment", '"int"', "")
    EmbeddedRegistry().id_of_text("payments-value", '"int"', "")
    given = {"valueSchemaId": schema_id} if schema == 0 else {"valueSchema": schema}
    body = {
        "records": [{"topic": "orders", "value": 1}, {"topic": "payments", "value": 1}],
        "topics": {"payments": {"valueFormat": "avro", **given}},
    }

    answer = send(both, body)

    assert answer.status_code == 200, answer.content
    assert answer.json()["schemas"] == {"payments": {"valueSchemaId": schema_id}}


@pytest.mark.parametrize(
    ("topics", "code", "detail"),
    [
        ({"orders": {"valueFormat": "yaml"}}, "unsupported_format", "$.topics.orders.valueFormat must be one of"),
        ({"orders": {"valueFormat": 1}}, "invalid_request_body", "valueFormat"),
        ({"orders": {"format": "json"}}, "invalid_request_body", "unknown field"),
        ({"ordres": {}}, "invalid_request_body", "$.topics.ordres: no record has this topic"),
        ({"orders": {"valueSchemaId": 1}}, "invalid_parameter", "$.topics.orders: value.schema.id requires"),
        ({"orders": {"valueSchemaId": -1}}, "invalid_parameter", "$.topics.orders.valueSchemaId"),
        ({"orders": {"valueSchemaId": 2**70}}, "invalid_parameter", "$.topics.orders.valueSchemaId"),
        ({"orders": {"valueSchema": ""}}, "invalid_parameter", "$.topics.orders.valueSchema"),
        ({"orders": {"valueFormat": "avro", "valueSchema": "absent"}}, "schema_not_found", "no subject 'absent'"),
        ({"orders": {"valueFormat": "avro", "valueSchema": {"type": "record"}}}, "invalid_schema", ""),
        ([], "invalid_request_body", "$.topics"),
    ],
)
def test_what_a_body_says_of_topics_is_checked(both: Api, topics: Any, code: str, detail: str) -> None:
    answer = send(both, {"records": [ORDER], "topics": topics})

    assert answer.status_code in (400, 404), answer.content
    assert answer.json()["code"] == code
    assert detail in answer.json()["detail"]
    assert values(both, "orders") == []


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ('{"records":[{"value":1}]}', "topic"),
        ('{"records":[{"topic":1}]}', "$.records[0].topic"),
        ('{"records":[{"topic":null}]}', "$.records[0].topic"),
        ('{"records":[{"topic":"orders","topic":"payments"}]}', '"topic" appears more than once'),
        ('{"records":[{"topic":"orders"}],"topics":{"orders":{},"orders":{}}}', '"orders" appears more than once'),
        ('{"records":[{"topic":"orders"}],"keySchema":"int"}', "unknown field keySchema"),
        ('{"records":[{"topic":"orders\\ud800"}]}', "$.records[0].topic: contains an unpaired surrogate"),
        ('{"records":[{"topic":"orders"}],"topics":{"\\udfff":{}}}', "no record has this topic"),
        ("{", ""),
        ("", '{"records": [...]}'),
        ('{"records":[]}', "no records"),
    ],
)
def test_an_invalid_body_is_rejected_as_a_whole(both: Api, body: str, detail: str) -> None:
    answer = send(both, body)

    assert answer.status_code == 400
    assert detail in json.dumps(answer.json(), ensure_ascii=False).replace('\\"', '"')


def test_an_unpaired_surrogate_in_a_value_is_stored_as_sent(both: Api) -> None:
    answer = send(both, '{"records":[{"topic":"orders","value":"\\ud800"},{"topic":"payments","value":1}]}')

    assert answer.status_code == 200
    assert values(both, "orders") == ['"\\ud800"']


def test_too_many_topics_or_records_are_rejected(both: Api, settings: Any) -> None:
    topics = send(both, [{"topic": f"t-{number}"} for number in range(101)])
    settings.TAKHIN_MAX_RECORDS = 2
    records = send(both, [ORDER] * 3)

    assert (topics.status_code, topics.json()["code"]) == (413, "too_many_topics")
    assert (records.status_code, records.json()["code"]) == (413, "too_many_records")


@pytest.mark.parametrize("slow", ["producer.api.named_topics.find_or_create", "producer.pipeline.topics.with_schemas"])
def test_finding_many_topics_takes_no_longer_than_a_request_may(
    both: Api, settings: Any, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    """Each may have to be created on a slow cluster, and each may have a schema in a slow registry."""
    settings.TAKHIN_PRODUCE_TIMEOUT = 0.2
    names = [both.create_topic(f"t-{number}", 1) for number in range(10)]
    asked: list[Any] = []

    def slowly(*arguments: Any) -> Any:
        asked.append(arguments)
        time.sleep(0.11)
        return arguments[1] if len(arguments) > 1 else None

    monkeypatch.setattr(slow, slowly)

    answer = send(both, [{"topic": name} for name in names])

    assert answer.status_code == 503
    assert answer.json()["code"] == "overloaded"
    assert len(asked) < len(names)


def test_a_key_must_be_allowed_on_every_topic(both: Api, settings: Any) -> None:
    settings.TAKHIN_REQUIRE_API_KEY = True
    secret = make_key(topics="orders")

    refused = send(both, [ORDER, PAYMENT], Authorization=secret)
    nowhere = send(both, [ORDER, {"topic": "nowhere"}], Authorization=secret)
    allowed = send(both, [ORDER], Authorization=secret)

    assert [refused.status_code, nowhere.status_code, allowed.status_code] == [403, 403, 200]
    assert refused.json()["code"] == "topic_not_allowed"
    assert "payments" in refused.json()["detail"]
    settings.TAKHIN_REQUIRE_API_KEY = False
    assert len(values(both, "orders")) == 1


def test_an_outcome_in_doubt_names_the_topics(both: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: Any, **__: Any) -> None:
        raise OutcomeUnknown("the connection was lost")

    monkeypatch.setattr(current_log(), "append", lost)

    answer = send(both, [ORDER, PAYMENT])

    assert answer.status_code == 504
    assert [(entry["topic"], entry["code"]) for entry in answer.json()["offsets"]] == [
        ("orders", "outcome_unknown"),
        ("payments", "outcome_unknown"),
    ]


def test_the_admin_shows_all_topics_of_a_request(both: Api, admin_client: Any) -> None:
    send(both, [ORDER, PAYMENT, {"topic": "nowhere"}])
    row = ProduceRequest.objects.get()

    page = admin_client.get(f"/admin/producer/producerequest/{row.pk}/change/").content.decode()
    listed = admin_client.get("/admin/producer/producerequest/").content.decode()

    assert row.topic == "orders,payments,nowhere"
    assert "orders,payments,nowhere" in listed
    assert "topic=payments&amp;partition=0&amp;offset=0" in page
    assert "<td>nowhere</td>" in page
    assert "there is no topic named" in page
