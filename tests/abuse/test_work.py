"""A request that asks for far more work than its bytes is refused, or done without keeping others waiting."""

import json
import re
import threading
from typing import Any

import pytest
import requests

from tests.abuse.conftest import Target

pytestmark = [pytest.mark.no_database, pytest.mark.abuse]

PRODUCE = "/api/topics/attacked/produce"
JSON = {"Content-Type": "application/json"}


def post(target: Target, path: str, body: Any, **query: str) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(target.url + path, data, params=query, headers=JSON, timeout=60)


def register(target: Target, subject: str, schema: Any, references: Any = ()) -> requests.Response:
    body = {"schema": json.dumps(schema), "references": list(references)}
    return post(target, f"/registry/subjects/{subject}/versions", body)


def in_parallel(count: int, run: Any) -> None:
    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_many_references(target: Target) -> None:
    """Sixteen look-ups with 12,000 references each kept the server busy for minutes."""
    assert register(target, "base-value", {"type": "record", "name": "Base", "fields": []}).status_code == 200
    references = [{"name": f"r{number}", "subject": "base-value", "version": 1} for number in range(12_000)]
    body = {"schema": '"string"', "references": references}
    statuses: list[int] = []
    with target.under_attack(1):
        in_parallel(16, lambda: statuses.append(post(target, "/registry/subjects/base-value", body).status_code))

    assert set(statuses) == {422}


def test_a_chain_of_references(target: Target) -> None:
    """Each schema refers to the two before it: the twentieth took 12 seconds, the next one 19."""
    with target.under_attack(1):
        for number in range(30):
            fields = [
                {"name": f"f{before}", "type": f"C{before}"} for before in (number - 1, number - 2) if before >= 0
            ]
            schema = {"type": "record", "name": f"C{number}", "fields": fields}
            references = [
                {"name": f"C{before}", "subject": f"chain{before}-value", "version": 1}
                for before in (number - 1, number - 2)
                if before >= 0
            ]
            assert register(target, f"chain{number}-value", schema, references).status_code in (200, 422)


def nested(depth: int, leaf: str) -> Any:
    schema: Any = {"type": "record", "name": "R0", "fields": [{"name": "x", "type": leaf}]}
    for level in range(1, depth):
        fields = [{"name": "a", "type": schema}, {"name": "b", "type": f"R{level - 1}"}]
        schema = {"type": "record", "name": f"R{level}", "fields": fields}
    return schema


def test_messages_that_double(target: Target) -> None:
    """2.4 KB of schema came back as 88 MB of messages."""
    assert register(target, "doubling-value", nested(25, "int")).status_code == 200
    with target.under_attack(1):
        refused = register(target, "doubling-value", nested(25, "string"))
        path = "/registry/compatibility/subjects/doubling-value/versions/latest"
        told = post(target, f"{path}?verbose=true", {"schema": json.dumps(nested(25, "string"))})

    assert refused.status_code == 409
    assert len(refused.content) < 100_000
    assert told.status_code == 200
    assert told.json()["is_compatible"] is False
    assert len(told.content) < 100_000


def test_compatibility_with_many_large_versions(target: Target) -> None:
    """It was judged while everybody who writes waited: produce took 5 to 9 seconds."""
    requests.put(
        f"{target.url}/registry/config/large-value", b'{"compatibility":"FULL_TRANSITIVE"}', headers=JSON, timeout=10
    )

    def version(number: int) -> Any:
        fields = [{"name": f"f{field}", "type": ["null", "string"], "default": None} for field in range(2000 + number)]
        return {"type": "record", "name": "Large", "fields": fields}

    with target.under_attack(0):
        for number in range(4):
            assert register(target, "large-value", version(number)).status_code in (200, 422)


LARGE_DEFAULT = {
    "type": "array",
    "items": {"type": "record", "name": "D", "fields": [{"name": "x", "type": "string", "default": "d" * 900_000}]},
}


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_large_defaults(target: Target, mode: str) -> None:
    """27 KB of body took 8.6 s of processor time; asynchronously everybody else waited 40 s."""
    register(target, "attacked-value", LARGE_DEFAULT)
    body = {"records": [{"value": [{}] * 64}] * 500}
    query = {"value.format": "avro", "async": str(mode == "async").lower()}
    requests.post(f"{target.url}/api/topics/innocent/produce?async=true", b'{"records":[{"value":1}]}', timeout=10)
    with target.under_attack(1):
        answer = post(target, PRODUCE, body, **query)
        accepted = requests.post(
            f"{target.url}/api/topics/innocent/produce?async=true", b'{"records":[{"value":1}]}', timeout=10
        ).json()
        other = requests.get(f"{target.url}/api/produce/status/{accepted['requestId']}?wait=10", timeout=30).json()
    requests.delete(f"{target.url}/registry/subjects/attacked-value", timeout=10)

    assert answer.status_code < 500 or answer.status_code == 503
    assert other["status"] == "completed"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "fixed", "name": "F", "size": 2**30, "logicalType": "decimal", "precision": 9, "scale": 2},
        {"type": "fixed", "name": "F", "size": 2**31 - 1},
        [{"type": "record", "name": f"U{number}", "fields": []} for number in range(10_000)],
        [{"type": "enum", "name": f"E{number}", "symbols": ["A"]} for number in range(10_000)],
    ],
    ids=["a decimal of 1 GiB", "a fixed of 2 GiB", "a union of records", "a union of enums"],
)
def test_schemas_that_ask_for_much(target: Target, schema: Any) -> None:
    values = ["1.00", {}, "A", None, 1, "x"]
    with target.under_attack(1):
        body = {"valueSchema": schema, "records": [{"value": value} for value in values]}
        answer = post(target, PRODUCE, body, **{"value.format": "avro", "value.schema": "attacked-much"})

    assert 400 <= answer.status_code < 500


def test_large_schemas_are_not_kept_for_ever(target: Target) -> None:
    """Compiled, each took 130 MB per MB of its text, and was never let go."""
    before = target.memory()
    for number in range(16):
        fields = [{"name": f"f{number}_{field}", "type": ["null", "long"], "default": None} for field in range(4500)]
        schema = {"type": "record", "name": f"Kept{number}", "fields": fields}
        body = {"valueSchema": schema, "records": [{"value": {}}]}
        answer = post(target, PRODUCE, body, **{"value.format": "avro", "value.schema": f"attacked-kept{number}"})
        assert answer.status_code == 200, answer.text

    # The cache holds 150 MB at most, and up to 80 MB wait to be collected.
    assert target.memory() - before < 300 * 1024 * 1024


def test_a_decoded_record_is_not_thousands_of_times_larger(target: Target) -> None:
    """50 KB of stored record came back as 100 MB."""
    schema = {"type": "array", "items": {"type": "enum", "name": "Long", "symbols": ["S" * 2000]}}
    body = {"valueSchema": schema, "records": [{"value": ["S" * 2000] * 450}]}
    for _ in range(10):
        post(target, PRODUCE, body, **{"value.format": "avro", "value.schema": "attacked-long"})
    with target.under_attack(1):
        answer = requests.get(
            f"{target.url}/api/topics/attacked/messages?decode=true&offset=-1000&limit=1000", timeout=60
        )

    assert answer.status_code == 200
    assert len(answer.content) < 50_000_000


@pytest.mark.parametrize(
    "value", [b'["' * 4_000_000, b"[" * 9_000_000, b'{"a":' * 1_000_000, b"[" + b"1" * 9_000_000 + b"]"]
)
def test_deep_and_large_json(target: Target, value: bytes) -> None:
    with target.under_attack(1):
        for _ in range(3):
            answer = post(target, PRODUCE, b'{"records":[{"value":' + value + b"}]}")
            assert 400 <= answer.status_code < 500


def test_wrong_passwords(target: Target) -> None:
    """32 clients with wrong passwords made others wait 200 times as long."""
    http = requests.Session()
    page = http.get(f"{target.url}/admin/login/", timeout=10).text
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert token is not None

    def guess() -> None:
        for number in range(5):
            form = {"username": f"admin{number}", "password": "wrong", "csrfmiddlewaretoken": token[1]}
            requests.post(f"{target.url}/admin/login/", form, cookies=http.cookies.get_dict(), timeout=60)

    with target.under_attack(1):
        in_parallel(32, guess)


def test_many_that_wait_for_their_status(target: Target) -> None:
    with target.under_attack(1):
        in_parallel(50, lambda: requests.get(f"{target.url}/api/produce/status/req_{'0' * 32}?wait=30", timeout=60))
