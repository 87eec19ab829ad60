"""Whatever is sent, nothing is a 5xx, hangs or grows; what kills a worker is given up and harms no neighbour."""

import os
import random
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from devservers.takhin import LiveServer
from tests.fuzzing import fuzz

pytestmark = [pytest.mark.no_database, pytest.mark.chaos, pytest.mark.usefixtures("no_server_left")]
IS_FULL = os.environ.get("CHAOS") == "full"
INPUTS = 100_000
SENT_INPUTS = 5_000 if IS_FULL else 1_000
SOAK_SECONDS = 600 if IS_FULL else 10
# For each of the operations in the description, besides about 1,100 cases that cover each parameter and method.
FUZZED_EXAMPLES = 310 if IS_FULL else 12
FUZZED_CASES = 5000 if IS_FULL else 150
# MiB: what each thread loads when it first needs it, the caches, and SQLite's pages for each connection.
MOST_GROWTH = 80
SEEDS = [
    b'{"records":[{"key":"k","value":{"a":1.10,"b":[true,null,"x"]},"headers":[{"key":"h","value":"v"}],"partition":1}]}',
    b'{"records":[{"topic":"orders","value":1},{"topic":"other","value":2}],"topics":{"orders":{"valueFormat":"string"}}}',
    b'{"key":"k","value":1,"timestamp":1700000000000}\n{"value":"two"}\n',
    b'{"topic":"orders","value":1}\n{"topic":"orders","value":{"x":[[[[]]]]}}\n',
    b'{"valueSchema":{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]},"records":[{"value":{"a":1}}]}',
]
TOKENS = [
    *(bytes([byte]) for byte in b'{}[],:"\\ \n\r\t\x00\x7f\xff'),
    b"null",
    b"true",
    b"-0",
    b"1e999",
    b"123456789012345678901234567890",
    b'"records"',
    b'"value"',
    b'"\\ud800"',
    b'"\\u0000"',
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"[" * 200,
    b'{"a":' * 120,
]


def mutated(body: bytes, chance: random.Random) -> bytes:
    data = bytearray(body)
    for _ in range(chance.choice((0, 0, 1, 1, 2, 3))):
        place = chance.randint(0, len(data))
        match chance.randint(0, 4):
            case 0:
                data[place:place] = chance.choice(TOKENS)
            case 1:
                del data[place : place + chance.randint(1, 12)]
            case 2:
                data[place : place + 1] = chance.choice(TOKENS)
            case 3:
                end = min(len(data), place + chance.randint(1, 40))
                data[place:place] = data[place:end]
            case _ if data:
                data[place % len(data)] ^= 1 << chance.randint(0, 7)
    return bytes(data)


def test_inputs_of_all_kinds_are_answered_below_500() -> None:
    """In one process, through the same steps as the views: a request over HTTP would take a hundred times as long."""
    from datetime import UTC, datetime
    from functools import partial

    import msgspec

    from core.api.errors import RequestError
    from core.json_text import InvalidJson, utf8
    from producer.options import Options
    from producer.pipeline.dialects import DIALECTS
    from producer.pipeline.plan import TopicPlan
    from topics.log.memory import MemoryLog

    log = MemoryLog()
    log.create_topic("orders", 3)
    chance = random.Random(4711)
    formats = ("json", "string", "binary")
    written = refused = 0
    before = 0
    for number in range(INPUTS):
        body = mutated(chance.choice(SEEDS), chance)
        dialect = chance.choice(list(DIALECTS.values()))
        options = Options(key_format=chance.choice(formats), value_format=chance.choice(formats))
        try:
            decoded = dialect.decode(utf8(body))
        except (RequestError, InvalidJson):
            refused += 1
        else:
            accepted = int(datetime.now(UTC).timestamp() * 1000)
            plan = TopicPlan("orders", decoded, options, 3, accepted, partial(log.check_records, "orders"))
            assert plan.serialize(10, 10)
            outcomes = plan.outcomes(log.send(plan.writes, None))
            assert len(outcomes) == len(decoded.records)
            msgspec.json.decode(outcomes.json)
            written += outcomes.written_count
        if number == INPUTS // 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"fuzz: {INPUTS} inputs, {refused} refused, {written} records written, grown by {grown:.0f} MiB")
    assert written > INPUTS // 20
    assert refused > INPUTS // 20
    # The log in memory keeps what was written.
    assert grown < 150


def test_a_real_server_answers_the_same_inputs_below_500(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data").start()
    for name in ("orders", "other"):
        server.create_topic(name)
    chance = random.Random(1147)
    paths = ("/api/topics/orders/produce", "/api/produce", "/registry/subjects/orders-value/versions", "/api/topics")
    queries = ("", "?value.format=avro", "?async=true", "?strict=true&key.format=binary", "?value.format=string&x=1")
    kinds = (*["application/json"] * 6, *["application/x-ndjson"] * 3, "text/plain", "text/html", "")
    encodings = (*[""] * 20, "gzip", "zstd", "lz4", "snappy", "br")
    statuses: dict[int, int] = {}
    with requests.Session() as http:
        for _ in range(SENT_INPUTS):
            headers = {"Content-Type": chance.choice(kinds), "Content-Encoding": chance.choice(encodings)}
            given = {name: value for name, value in headers.items() if value}
            url = server.url + chance.choice(paths) + chance.choice(queries)
            answer = http.post(url, data=mutated(chance.choice(SEEDS), chance), headers=given, timeout=30)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            assert answer.status_code < 500, (url, given, answer.text)
            assert "Traceback" not in answer.text
    print(f"fuzz over HTTP: {statuses}")
    assert statuses.keys() >= {200, 202, 400, 415, 422}
    assert "unexpected_error" not in server.log.read_text()
    server.stop()


def test_a_fuzzer_finds_no_5xx_no_hang_and_no_growth(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    server = LiveServer(tmp_path / "data").start()
    before, files = usage(server.process_ids()[1])
    phases = "examples,coverage,fuzzing" if IS_FULL else "fuzzing"
    cases = fuzz(server, tmp_path, FUZZED_EXAMPLES, phases, seconds=1800)
    after, later_files = usage(server.process_ids()[1])
    # A line for each request; a few are the fuzzer's and this test's own.
    lines = server.log.read_text()
    answered = lines.count('"event":"request"')
    server.stop()

    assert cases >= FUZZED_CASES
    assert answered >= cases
    assert "unexpected_error" not in lines
    assert after < before + MOST_GROWTH
    # A connection to the database for each thread, which opens it with its first request.
    assert later_files <= files + 3 * 20
    record_property("scenario", f"schemathesis: {cases} cases, {before:.0f} then {after:.0f} MiB")


def test_a_soak_leaves_memory_and_descriptors_as_they_were(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_REQUEST_TTL="1s", TAKHIN_HOUSEKEEPING_INTERVAL="1s").start()
    requests.post(f"{server.url}/api/topics", json={"name": "orders", "retentionBytes": 1_000_000}, timeout=10)
    stopping = threading.Event()
    errors: list[str] = []

    def load() -> None:
        with requests.Session() as http:
            while not stopping.is_set():
                for query in ("", "?async=true", "?compression=zstd"):
                    body = {"records": [{"value": "x" * 500, "key": str(number)} for number in range(10)]}
                    answer = http.post(f"{server.url}/api/topics/orders/produce{query}", json=body, timeout=30)
                    if answer.status_code not in (200, 202):
                        errors.append(answer.text)
                # Half of what it can do.
                stopping.wait(0.03)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    # Every thread of the server opens its connection with its first request.
    readers = [threading.Thread(target=read, args=[server]) for _ in range(40)]
    for thread in readers:
        thread.start()
    for thread in readers:
        thread.join()
    time.sleep(SOAK_SECONDS / 4)
    before = [usage(pid) for pid in server.process_ids()]
    time.sleep(SOAK_SECONDS * 3 / 4)
    after = [usage(pid) for pid in server.process_ids()]
    stopping.set()
    for thread in threads:
        thread.join()
    print(f"soak: {SOAK_SECONDS} s, memory and descriptors of each process {before} then {after}")

    assert errors == []
    for (memory, files), (later_memory, later_files) in zip(before, after, strict=True):
        assert later_memory <= memory * 1.1 + 8
        assert later_files <= files + 4
    server.stop()


def read(server: LiveServer) -> None:
    for _ in range(10):
        requests.get(f"{server.url}/api/topics/orders/messages?limit=1000", timeout=30)


def usage(pid: int) -> tuple[float, int]:
    """MiB of resident memory, and open descriptors."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1), len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_a_request_that_kills_its_workers_is_given_up_and_harms_no_neighbour(tmp_path: Path) -> None:
    """The crash hook kills each worker where it would append, as a poisonous record could."""
    server = LiveServer(tmp_path / "data", TAKHIN_WORKERS="0").start()
    server.create_topic("orders")
    poison = server.produce("orders", [{"value": "poison"}], **{"async": "true"}).json()["requestId"]
    deaths = 0
    while status(server, poison)["status"] == "pending" and deaths < 12:
        worker = server.launch_worker(TAKHIN_CRASH_AT="append.before:1")
        while worker.poll() is None and status(server, poison)["status"] == "pending":
            time.sleep(0.1)
        deaths += worker.poll() is not None
        worker.kill()
        worker.wait(20)
        # Another worker takes it over once its lease is void.
        server.manage("shell", "-c", EXPIRE)
    assert deaths == 5
    good = server.produce("orders", [{"value": "good"}], **{"async": "true"}).json()["requestId"]

    worker = server.launch_worker()
    assert status(server, good, wait=20)["status"] == "completed"
    found = status(server, poison, wait=20)
    worker.terminate()
    worker.wait(20)

    assert (found["status"], found["code"]) == ("failed", "gave_up")
    assert "each one killed its worker" in found["error"]
    assert len([record for part in range(3) for record in server.read("orders", part)]) == 1
    server.stop()


EXPIRE = "from producer.models import ProduceRequest; ProduceRequest.objects.update(lease_until=None)"


def status(server: LiveServer, request_id: str, wait: int = 0) -> dict[str, str]:
    answer = requests.get(f"{server.url}/api/produce/status/{request_id}?wait={wait}", timeout=40)
    found: dict[str, str] = answer.json()
    return found
