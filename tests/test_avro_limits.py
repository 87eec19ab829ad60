"""What a schema, a record and an answer may take: little input makes neither much work nor much output."""

import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from devservers.takhin import LiveServer
from producer.models import ProduceRequest
from producer.pipeline import plan, produce
from producer.queue import jobs, loop
from producer.queue.threads import new_worker
from registry import framing
from registry.avro_json import AvroSchema, Budget, OutOfTime, TooLarge
from registry.sources import compiled
from registry.sources.compiled import CompiledSchemas
from tests.conftest import Api
from topics.models import RecordBatch

MIB = 1024 * 1024


def record(*fields: Any, name: str = "R") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


def field(name: str, kind: Any, *default: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **({"default": default[0]} if default else {})}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


LARGE = record(field("f", "string", "x" * 100_000))
NULLS = record(*(field(f"f{number}", "null", None) for number in range(5000)))
# Only the last fields differ, so a value must be looked at to know which it is.
ALIKE = [record(field("a", "int"), name=f"R{number}") for number in range(1000)]
GROWING: dict[str, tuple[Any, str]] = {
    "a large default": (array(LARGE), "[" + ",".join(["{}"] * 64) + "]"),
    "a large default in arrays of arrays": (array(array(LARGE)), "[" + ",".join(["[{},{},{}]"] * 20) + "]"),
    "a large default in maps": (
        {"type": "map", "values": LARGE},
        "{" + ",".join(f'"{number}":{{}}' for number in range(64)) + "}",
    ),
    "a large default in records": (
        array(record(field("inner", LARGE), name="Outer")),
        "[" + ",".join(['{"inner":{}}'] * 64) + "]",
    ),
    "a large default in a union": (array(["null", "string", LARGE]), "[" + ",".join(["{}"] * 64) + "]"),
    "a default that holds a default": (
        array(record(field("inner", LARGE, {}), name="Outer")),
        "[" + ",".join(["{}"] * 64) + "]",
    ),
    "fields that take no bytes": (array(NULLS), "[" + ",".join(["{}"] * 10_000) + "]"),
    "a fixed decimal": (
        array({"type": "fixed", "name": "F", "size": 100_000, "logicalType": "decimal", "precision": 4}),
        "[" + ",".join(["0"] * 64) + "]",
    ),
    "large exponents": (
        array({"type": "bytes", "logicalType": "decimal", "precision": 10_000}),
        "[" + ",".join(["1e9999"] * 1000) + "]",
    ),
    "trials of a thousand branches": (array(ALIKE), "[" + ",".join(['{"a":"x"}', '{"a":1}'] * 10_000) + "]"),
}


def register(api: Api, subject: str, schema: Any) -> int:
    answer = api.post(f"/registry/subjects/{subject}/versions", {"schema": json.dumps(schema)})
    assert answer.status_code == 200, answer.content
    schema_id: int = answer.json()["id"]
    return schema_id


def body(*values: str) -> str:
    return '{"records":[' + ",".join(f'{{"value":{value}}}' for value in values) + "]}"


@pytest.mark.parametrize(("schema", "value"), GROWING.values(), ids=GROWING)
def test_it_works(api: Api, schema: Any, value: str) -> None:
    """A record is refused while it grows, by an error of its own, and its neighbours are written."""
    api.create_topic("t", 1)
    register(api, "t-value", schema)
    fits = value[:1] + value[-1:]

    answer = api.produce("t", body(fits, value, fits), value_format="avro")

    codes = [outcome.get("code", "written") for outcome in answer.json()["offsets"]]
    # A thousand branches that all have the field are tried, and refuse the first value.
    assert codes in (["written", "record_too_large", "written"], ["written", "serialization_failed", "written"])


def test_steps_are_bounded() -> None:
    schema = AvroSchema(array(ALIKE))
    values = "[" + ",".join(['{"a":1}'] * 10_000) + "]"

    assert len(schema.encode(values.encode(), Budget())) < 50_000
    late = [*ALIKE[:-1], record(field("a", "string"), name="Last")]
    with pytest.raises(TooLarge, match="takes more than 500000 steps"):
        AvroSchema(array(late)).encode(values.replace("1", '"x"').encode(), Budget())


def test_a_choice_of_many_branches_costs_no_more_than_one_of_few() -> None:
    """By its fields or its symbol a value rules most branches out: they are not tried."""
    records = [record(field("a", "int"), field(f"b{number}", "string"), name=f"R{number}") for number in range(500)]
    enums = [{"type": "enum", "name": f"E{number}", "symbols": [f"S{number}"]} for number in range(500)]
    budget = Budget(most_steps=5000)

    objects = "[" + ",".join(['{"a":1,"b499":"x"}'] * 1000) + "]"
    symbols = "[" + ",".join(['"S499"'] * 1000) + "]"

    AvroSchema(array(records)).encode(objects.encode(), budget)
    AvroSchema(array(enums)).encode(symbols.encode(), budget)


def test_a_deadline_ends_the_work_within_a_record() -> None:
    late = [*ALIKE[:-1], record(field("a", "string"), name="Last")]

    with pytest.raises(OutOfTime):
        AvroSchema(array(late)).encode(b'[{"a":"x"},{"a":"x"},{"a":"x"}]', Budget(deadline=time.monotonic() - 1))


def test_messages_stay_short() -> None:
    """Thousands of records may each have one, and names be as long as the schema."""
    schema = [record(field("a", "int"), name=f"R{number}" + "x" * 5000) for number in range(50)]

    with pytest.raises(ValueError, match="expected R0x") as caught:
        AvroSchema(schema).encode(b'{"a":"x"}')

    assert len(str(caught.value)) < 1000


def test_a_request_is_bounded_too(api: Api, settings: Any) -> None:
    """Each record is small enough, but all of them were held in memory together."""
    settings.TAKHIN_MAX_BODY_BYTES = 150_000
    api.create_topic("t", 1)
    register(api, "t-value", LARGE)

    answer = api.produce("t", body(*["{}"] * 20), value_format="avro")

    outcomes = answer.json()["offsets"]
    # Four times the body is less than one record may have, and that bounds it then.
    assert [outcome.get("code", "written") for outcome in outcomes] == ["written"] * 10 + ["record_too_large"] * 10
    assert "exceeds 1048576 bytes together" in outcomes[-1]["error"]


class Clock:
    """Time that passes by a tenth of a second for each look at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.1
        return self.now

    time_ns = staticmethod(time.time_ns)


@pytest.mark.parametrize("strict", ["false", "true"])
def test_a_requests_time_ends_serialization(api: Api, monkeypatch: pytest.MonkeyPatch, strict: str) -> None:
    """Nothing is written in part: each record says that it was not attempted, and may be sent again."""
    api.create_topic("t", 1)
    register(api, "t-value", "int")
    clock = Clock()
    monkeypatch.setattr(plan, "time", clock)
    monkeypatch.setattr(produce, "time", clock)

    answer = api.produce("t", body("1", '"x"', *["3"] * 100), value_format="avro", timeout="1000", strict=strict)

    assert answer.status_code in (422, 503), answer.content
    outcomes = answer.json()["offsets"]
    assert len(outcomes) == 102
    assert outcomes[1]["code"] == "serialization_failed"
    assert {(outcome["code"], outcome["retriable"]) for outcome in outcomes[2:]} == {("not_attempted", True)}
    assert "timed out" in outcomes[50]["error"]
    assert not RecordBatch.objects.exists()


def submit(api: Api, *values: str, **parameters: str) -> str:
    answer = api.produce("t", body(*values), value_format="avro", async_="true", **parameters)
    assert answer.status_code == 202, answer.content
    request_id: str = answer.json()["requestId"]
    return request_id


def status(api: Api, request_id: str) -> Any:
    return api.get(f"/api/produce/status/{request_id}").json()


@pytest.fixture
def slow(api: Api, monkeypatch: pytest.MonkeyPatch) -> str:
    """A topic of which a slice is two records."""
    api.create_topic("t", 1)
    register(api, "t-value", "int")
    monkeypatch.setattr(plan, "time", Clock())
    for module in (produce, loop):
        monkeypatch.setattr(module, "SLICE_SECONDS", 0.15)
    return "t"


def test_async_requests_take_turns(api: Api, slow: str) -> None:
    """A request of many records was written to its end before the next one was looked at."""
    many = submit(api, *["1"] * 50)
    worker = new_worker()
    assert worker.work_once() == 1
    one = submit(api, "2")

    assert worker.work_once() == 2

    assert status(api, one)["status"] == "completed"
    assert status(api, many)["status"] == "pending"
    while worker.work_once():
        pass
    found = status(api, many)
    assert found["status"] == "completed"
    assert [outcome["offset"] for outcome in found["offsets"]] == list(range(1, 51))
    # Still one append.
    assert RecordBatch.objects.count() == 2


def test_a_request_under_way_is_renewed_and_given_back_when_the_worker_stops(api: Api, slow: str) -> None:
    many = submit(api, *["1"] * 50)
    worker = new_worker()
    worker.work_once()
    ProduceRequest.objects.update(lease_until=None)

    worker.renew()
    renewed = ProduceRequest.objects.get().lease_until
    worker.stop()
    worker.work_once()

    assert renewed is not None
    row = ProduceRequest.objects.get()
    assert (row.status, row.attempts) == ("pending", 0)
    assert not RecordBatch.objects.exists()
    other = new_worker()
    ProduceRequest.objects.update(lease_until=None)
    while other.work_once():
        pass
    assert len(status(api, many)["offsets"]) == 50
    assert RecordBatch.objects.count() == 1


def test_a_request_under_way_that_another_worker_took_is_written_once(api: Api, slow: str) -> None:
    many = submit(api, *["1"] * 20)
    paused, other = new_worker(), new_worker()
    paused.work_once()
    ProduceRequest.objects.update(lease_until=None)
    while other.work_once():
        pass

    while paused.work_once():
        pass

    assert status(api, many)["status"] == "completed"
    assert RecordBatch.objects.count() == 1


@pytest.mark.parametrize(
    ("limit", "most", "kept"),
    [("MOST_UNFINISHED", 4, 4), ("MOST_UNFINISHED_BYTES", 1200, 4), ("MOST_UNFINISHED_BYTES", 1, 1)],
)
def test_a_worker_keeps_few_unfinished_requests(
    api: Api, slow: str, monkeypatch: pytest.MonkeyPatch, limit: str, most: int, kept: int
) -> None:
    """Each may hold tens of megabytes; those beyond are given back, and are begun anew later."""
    monkeypatch.setattr(loop, limit, most)
    many = [submit(api, *["1"] * 20) for _ in range(8)]
    worker = new_worker()
    worker.work_once()

    assert len(worker._held) == kept
    for _ in range(200):
        ProduceRequest.objects.filter(lease_until__isnull=False, attempts=0).update(lease_until=None)
        worker.work_once()
    assert {status(api, request_id)["status"] for request_id in many} == {"completed"}
    assert RecordBatch.objects.count() == len(many)


def test_an_async_request_that_takes_too_long_is_ended(api: Api, slow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST_SERIALIZING_SECONDS", 2.0)
    many = submit(api, *["1"] * 1000)
    worker = new_worker()

    while worker.work_once():
        pass

    found = status(api, many)
    assert found["status"] == "failed"
    assert {outcome["code"] for outcome in found["offsets"]} == {"not_attempted"}
    assert "send fewer at once" in found["error"]
    assert not RecordBatch.objects.exists()


AMPLIFIED: dict[str, tuple[Any, Any, int]] = {
    "a long symbol": (array({"type": "enum", "name": "E", "symbols": ["x" * 2000]}), "x" * 2000, 50_000),
    "a long tag": (array(["string", {"type": "fixed", "name": "n" * 2000, "size": 0}]), {"n" * 2000: ""}, 50_000),
    "a long field name": (array(record(field("x" * 2000, "boolean"))), {"x" * 2000: True}, 4900),
    "a long scale": (
        array({"type": "bytes", "logicalType": "decimal", "precision": 10_000, "scale": 9999}),
        0,
        50_000,
    ),
}


@pytest.mark.parametrize(("schema", "item", "count"), AMPLIFIED.values(), ids=AMPLIFIED)
def test_a_record_that_grows_when_it_is_decoded_is_shown_as_it_is(api: Api, schema: Any, item: Any, count: int) -> None:
    """50 kB of record became an answer of 100 MB."""
    api.create_topic("t", 1)
    schema_id = register(api, "t-value", schema)
    data = AvroSchema(schema).encode(json.dumps([item]).encode())
    # One block of as many items: to send them as JSON, the body would have to be as large as the answer.
    block = AvroSchema("long").encode(str(count).encode()) + data[1:-1] * count + b"\0"
    framed = [b"\0" + schema_id.to_bytes(4, "big") + each for each in (block, data)]
    values = [{"value": base64.b64encode(each).decode()} for each in framed]
    assert api.produce("t", values, value_format="binary").status_code == 200

    answer = api.get("/api/topics/t/messages?decode=true")

    large, other = answer.json()
    assert large["valueEncoding"] in ("utf-8", "base64")
    assert large["valueDecodeError"] == "has more than 4194304 bytes as JSON"
    assert other["valueEncoding"] == "avro"
    assert "valueDecodeError" not in other
    assert len(answer.content) < 4 * MIB


def test_an_answer_decodes_so_much_and_no_more(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.create_topic("t", 1)
    register(api, "t-value", "string")
    api.produce("t", [{"value": "x" * 1000}] * 10, value_format="avro")
    monkeypatch.setattr(framing, "MOST_DECODED", 5000)

    shown = api.messages("t", decode="true")

    assert [message["valueEncoding"] == "avro" for message in shown] == [True] * 4 + [False] * 6
    assert all(message["valueDecodeError"] for message in shown[4:])


def test_decoding_ends_when_its_time_is_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.create_topic("t", 1)
    register(api, "t-value", "string")
    api.produce("t", [{"value": "x"}] * 3, value_format="avro")
    monkeypatch.setattr(framing, "DECODE_SECONDS", -1.0)

    shown = api.messages("t", decode="true")

    assert [message["valueDecodeError"] for message in shown] == ["decoding took more than 5 seconds"] * 3


def test_an_unknown_schema_is_looked_for_once_an_answer(api: Api, django_assert_max_num_queries: Any) -> None:
    api.create_topic("t", 1)
    api.produce("t", [{"value": "AAAAEmcA"}] * 100, value_format="binary")

    with django_assert_max_num_queries(20):
        assert len(api.messages("t", decode="true")) == 100


def test_compiled_schemas_are_bounded_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were kept for ever, a hundred times their text each."""
    monkeypatch.setattr(compiled, "MOST_CHARACTERS", 10_000)
    kept = CompiledSchemas()

    for number in range(100):
        text = json.dumps({"type": "string", "doc": "x" * 900})
        kept.compile(number, text, [])
        assert kept.get(0) is not None, "what is used is kept"

    assert [number for number in range(100) if kept.get(number) is not None] == [0, *range(92, 100)]
    # One that is larger than all is kept alone.
    kept.compile(100, json.dumps({"type": "string", "doc": "x" * 20_000}), [])
    assert [number for number in range(101) if kept.get(number) is not None] == [100]


@pytest.mark.no_database
def test_a_costly_request_does_not_delay_others(tmp_path: Path) -> None:
    """One of 10,000 records by a costly schema delayed another client's single record by 40 seconds."""
    server = LiveServer(tmp_path / "data").start()
    server.create_topic("costly", 1)
    server.create_topic("plain", 1)
    fields = [field(f"f{number}", ["null", "string"], None) for number in range(1000)]
    registered = server.http.post(
        f"{server.url}/registry/subjects/costly-value/versions",
        json={"schema": json.dumps(array(record(*fields)))},
        timeout=30,
    )
    assert registered.status_code == 200, registered.text
    costly = [{"value": [{}] * 400} for _ in range(1000)]
    waited: list[float] = []
    done = threading.Event()

    def innocent() -> None:
        while not done.is_set():
            began = time.monotonic()
            accepted = server.http.post(
                f"{server.url}/api/topics/plain/produce?async=true", json={"records": [{"value": 1}]}, timeout=60
            ).json()
            found = server.http.get(
                f"{server.url}/api/produce/status/{accepted['requestId']}", params={"wait": "30"}, timeout=60
            ).json()
            assert found["status"] == "completed"
            waited.append(time.monotonic() - began)

    with ThreadPoolExecutor(1) as pool:
        for _ in range(3):
            assert server.produce("costly", costly, **{"value.format": "avro", "async": "true"}).status_code == 202
        future = pool.submit(innocent)
        time.sleep(6)
        done.set()
        future.result()
    server.kill()

    assert len(waited) >= 3
    assert max(waited) < 5
