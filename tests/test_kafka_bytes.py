"""On a real Kafka cluster, every byte of a record is as it was sent, whatever carries it there."""

import json
import struct
import time
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from devservers.kafka import KafkaCluster
from devservers.takhin import LiveServer
from tests.kafka.reading import Read, read_all
from tests.test_partitioner import VECTORS
from topics.log.compression import CODECS

pytestmark = [pytest.mark.no_database, pytest.mark.kafka]

EVERY_BYTE = bytes(range(256))
# What a client writes in JSON -> the bytes that a consumer finds.
TEXTS: dict[str, list[tuple[str, bytes | None]]] = {
    "json": [
        ("null", None),
        ('""', b'""'),
        ("0", b"0"),
        ("false", b"false"),
        ("{}", b"{}"),
        ("[ ]", b"[ ]"),
        ('{"b" : 1.10,  "a":123456789012345678901234567890}', b'{"b" : 1.10,  "a":123456789012345678901234567890}'),
        ('"\\u00e9 é 😀 \\u0000"', '"\\u00e9 é 😀 \\u0000"'.encode()),
    ],
    "string": [
        ("null", None),
        ('""', b""),
        ("123456789012345678901234567890", b"123456789012345678901234567890"),
        ("-1.50e+07", b"-1.50e+07"),
        ("true", b"true"),
        ('"null"', b"null"),
        ('"\\u00e9 é \\ud83d\\ude00 \\u0000 \\""', 'é é 😀 \0 "'.encode()),
    ],
    "binary": [
        ("null", None),
        ('""', b""),
        ('"AA=="', b"\0"),
        (json.dumps(b64encode(EVERY_BYTE).decode()), EVERY_BYTE),
    ],
}
HEADERS: list[tuple[str, bytes | None]] = [("é", b""), ("é", None), ("", "😀".encode()), ("bytes", EVERY_BYTE)]
SENT_HEADERS = [
    {"key": "é", "value": ""},
    {"key": "é", "value": None},
    {"key": "", "value": "😀"},
    {"key": "bytes", "value": {"base64": b64encode(EVERY_BYTE).decode()}},
]
# A batch that would grow is stored as it is, so that every record has something to compress.
PADDING = "x" * 1000


@pytest.fixture(scope="module")
def server(kafka: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    made = LiveServer(
        tmp_path_factory.mktemp("bytes"), TAKHIN_LOG="kafka", KAFKA_BOOTSTRAP_SERVERS=kafka.bootstrap
    ).start()
    yield made
    made.stop()


def post(server: LiveServer, topic: str, body: bytes, **parameters: str) -> list[Any]:
    """Every record's outcome, at once or from the request's status."""
    answer = server.http.post(f"{server.url}/api/topics/{topic}/produce", data=body, params=parameters, timeout=60)
    if answer.status_code == 202:
        url = f"{server.url}{answer.headers['Location']}"
        answer = server.http.get(url, params={"wait": 30}, timeout=60)
        assert answer.json()["status"] != "pending", answer.text
    assert answer.status_code == 200, answer.text
    outcomes: list[Any] = answer.json()["offsets"]
    return outcomes


def codecs_of(kafka: KafkaCluster, topic: str, partition: int) -> set[str]:
    """The codecs in the attributes of the batches that the broker has stored, but for control batches.

    https://kafka.apache.org/documentation/#recordbatch
    """
    segments = sorted((kafka.nodes[1].folder / "data" / f"{topic}-{partition}").glob("*.log"))
    data = b"".join(segment.read_bytes() for segment in segments)
    found = set()
    place = 0
    while place < len(data):
        _, length, _, magic, _, attributes = struct.unpack_from(">qiibIh", data, place)
        assert magic == 2
        if not attributes & 0x20:
            found.add(list(CODECS)[attributes & 7])
        place += 12 + length
    return found


@pytest.mark.parametrize("is_async", ["false", "true"])
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("form", TEXTS)
def test_it_works(kafka: KafkaCluster, server: LiveServer, form: str, codec: str, is_async: str) -> None:
    topic = f"{form}-{codec}-{is_async}"
    server.create_topic(topic, 3)
    padding = {"key": "padding", "value": PADDING}
    records: list[str] = []
    expected: list[Read] = []
    for number, (text, stored) in enumerate((key, value) for key in TEXTS[form] for value in TEXTS[form]):
        (key_text, key), (value_text, value) = text, stored
        timestamp = 1 if number == 0 else 1704545600123 + number
        headers = json.dumps([*SENT_HEADERS, padding] if number % 2 else [padding])
        records.append(
            f'{{"key":{key_text},"value":{value_text},"timestamp":{timestamp},'
            f'"headers":{headers},"partition":{number % 3}}}'
        )
        kept = [*HEADERS, ("padding", PADDING.encode())] if number % 2 else [("padding", PADDING.encode())]
        expected.append(Read(number % 3, number // 3, timestamp, key, value, kept))

    outcomes = post(
        server,
        topic,
        f'{{"records":[{",".join(records)}]}}'.encode(),
        compression=codec,
        **{"key.format": form, "value.format": form, "async": is_async},
    )

    assert [tuple(outcome.values()) for outcome in outcomes] == [record[:3] for record in expected]
    assert read_all(kafka.bootstrap, topic) == sorted(expected, key=lambda record: record[:2])
    assert {name for partition in range(3) for name in codecs_of(kafka, topic, partition)} == {codec}


FAR_AHEAD = 99_999_999_999_999


@pytest.mark.parametrize("is_async", ["false", "true"])
def test_a_record_that_a_broker_refuses_leaves_the_others_alone(
    kafka: KafkaCluster, server: LiveServer, is_async: str
) -> None:
    """A broker refuses the whole batch (KIP-467), and so the transaction; only the bad records may be missing."""
    topic = f"refused-{is_async}"
    create(kafka, server, topic, 2, {"max.message.bytes": "2000"})
    values = ["a", "b", "x" * 5000, "c", "d", "e"]
    records = [{"value": value, "partition": number % 2} for number, value in enumerate(values)]
    records[1]["timestamp"] = FAR_AHEAD
    body = json.dumps({"records": records}).encode()

    outcomes = post(server, topic, body, **{"value.format": "string", "async": is_async})

    assert [outcome.get("code") for outcome in outcomes] == [
        None,
        "invalid_timestamp",
        "msg_size_too_large",
        None,
        None,
        None,
    ]
    assert stored(kafka, topic) == told(outcomes, values)


@pytest.mark.parametrize("is_async", ["false", "true"])
def test_many_refused_records_leave_the_others_alone(kafka: KafkaCluster, server: LiveServer, is_async: str) -> None:
    """Each refusal cost 100 ms, so that most records of a large request were in doubt when the time was up; async it
    cost 8 s, and no other request was written meanwhile.
    """
    topic = f"many-refused-{is_async}"
    create(kafka, server, topic, 3, {"cleanup.policy": "compact"})
    values = [str(number) for number in range(1500)]
    records = [
        {"key": None if number % 10 == 0 else number, "value": value, "partition": number % 3}
        for number, value in enumerate(values)
    ]
    body = json.dumps({"records": records}).encode()

    outcomes = post(server, topic, body, **{"value.format": "string", "async": is_async})

    codes = [outcome.get("code") for outcome in outcomes]
    assert codes == ["invalid_record" if number % 10 == 0 else None for number in range(1500)]
    assert stored(kafka, topic) == told(outcomes, values)


def test_refused_records_that_are_too_many_for_the_time_leave_nothing_in_doubt(
    kafka: KafkaCluster, server: LiveServer
) -> None:
    """Thousands of records that were never sent were told as perhaps written."""
    topic = "too-many-refused"
    create(kafka, server, topic, 1, {"cleanup.policy": "compact"})
    values = [str(number) for number in range(10_000)]
    records = [{"key": number if number % 2 else None, "value": value} for number, value in enumerate(values)]
    body = json.dumps({"records": records}).encode()

    outcomes = post(server, topic, body, **{"value.format": "string", "timeout": "3000"})

    codes = [{outcome.get("code") for outcome in outcomes[first::2]} for first in (0, 1)]
    assert codes[0] <= {"invalid_record", "not_attempted"}
    assert codes[1] <= {None, "not_attempted"}
    assert all(outcome["retriable"] for outcome in outcomes if outcome.get("code") == "not_attempted")
    assert stored(kafka, topic) == told(outcomes, values)


def test_a_refused_record_does_not_hold_up_other_requests(kafka: KafkaCluster, server: LiveServer) -> None:
    """Requests that wait at the same time share a transaction, which one refused record ends."""
    topic = "neighbours"
    create(kafka, server, topic, 1, {"max.message.bytes": "2000"})
    path = f"{server.url}/api/topics/{topic}/produce?async=true&value.format=string"
    values = [[f"{number}-a", "x" * 5000 if number % 5 == 2 else f"{number}-b"] for number in range(20)]

    accepted = [server.http.post(path, json={"records": [{"value": v} for v in pair]}, timeout=10) for pair in values]

    for answer, pair in zip(accepted, values, strict=True):
        ended = server.http.get(f"{server.url}{answer.headers['Location']}?wait=30", timeout=60).json()
        codes = [outcome.get("code") for outcome in ended["offsets"]]
        assert codes == [None, "msg_size_too_large" if len(pair[1]) == 5000 else None]
        assert told(ended["offsets"], pair).items() <= stored(kafka, topic).items()
    assert len(stored(kafka, topic)) == 36


@pytest.mark.parametrize(
    ("number", "bad", "code"),
    [
        (0, {"value": "x" * 5000}, "msg_size_too_large"),
        (1, {"value": "x", "timestamp": FAR_AHEAD}, "invalid_timestamp"),
        # The client refuses this one by itself.
        (2, {"value": "x", "timestamp": 0}, "invalid_timestamp"),
    ],
)
def test_a_strict_request_with_a_refused_record_writes_nothing(
    kafka: KafkaCluster, server: LiveServer, number: int, bad: Any, code: str
) -> None:
    """It wrote the others, though a transaction can be aborted as a whole."""
    topic = f"strict-{number}"
    create(kafka, server, topic, 2, {"max.message.bytes": "2000"})
    records = [{"value": "a", "partition": 0}, {"value": "b", "partition": 1}, {**bad, "partition": 0}, {"value": "c"}]
    body = json.dumps({"records": records}).encode()

    outcomes = post(server, topic, body, **{"value.format": "string", "async": "true", "strict": "true"})

    codes = [(outcome["code"], outcome["retriable"]) for outcome in outcomes]
    assert codes == [(code if number == 2 else "not_attempted", False) for number in range(4)]
    assert stored(kafka, topic) == {}


def create(kafka: KafkaCluster, server: LiveServer, topic: str, partitions: int, config: dict[str, str]) -> None:
    """Make a topic with a configuration that the API does not offer, and wait until the server sees it."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    (made,) = admin.create_topics([NewTopic(topic, partitions, config=config)]).values()
    made.result(30)
    deadline = time.monotonic() + 30
    while server.http.get(f"{server.url}/api/topics/{topic}", timeout=10).status_code != 200:
        assert time.monotonic() < deadline


def stored(kafka: KafkaCluster, topic: str) -> dict[tuple[int, int], bytes | None]:
    return {(record.partition, record.offset): record.value for record in read_all(kafka.bootstrap, topic)}


def told(outcomes: list[Any], values: list[str]) -> dict[tuple[int, int], bytes | None]:
    """What is stored where, by the answer."""
    return {
        (one["partition"], one["offset"]): value.encode()
        for one, value in zip(outcomes, values, strict=True)
        if "offset" in one
    }


@pytest.mark.parametrize("partitions", [1, 3, 7])
def test_keys_are_where_java_puts_them(server: LiveServer, partitions: int) -> None:
    """The vectors are those of org.apache.kafka.common.utils.UtilsTest."""
    topic = f"vectors-{partitions}"
    server.create_topic(topic, partitions)
    body = json.dumps({"records": [{"key": b64encode(key).decode()} for key in VECTORS]}).encode()

    outcomes = post(server, topic, body, **{"key.format": "binary"})

    expected = [(hashed & 0x7FFFFFFF) % partitions for hashed in VECTORS.values()]
    assert [outcome["partition"] for outcome in outcomes] == expected
