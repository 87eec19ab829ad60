"""What clients say of their bodies and their parameters is understood in every usual form."""

import gzip
import json
import time
from typing import Any

import cramjam
import pytest
import requests
import zstandard

from core.content_encodings import MAX_GZIP_MEMBERS
from devservers.takhin import LiveServer
from tests.conftest import Api
from tests.test_bodies import ENCODINGS, encodings
from topics.models import RecordBatch

MIB = 1024 * 1024
PRODUCE = "/api/topics/orders/produce"
ONE = b'{"records":[{"value":{"n":1}}]}'
LINES = b'{"value":1}\n{"value":2}\n'
SCHEMA = json.dumps({"schema": '"string"'}).encode()
VERSIONS = "/registry/subjects/orders-value/versions"


def encoded(api: Api, path: str, body: bytes, encoding: str) -> Any:
    return api.post(path, body, **{"Content-Encoding": encoding})


# Content-Type


@pytest.mark.parametrize("name", ["application/x-ndjson", "application/ndjson", "application/jsonl"])
@pytest.mark.parametrize("form", ["%s", "%s; charset=utf-8", "%s;charset=UTF-8"])
def test_each_name_of_lines_is_read_as_lines(api: Api, topic: str, name: str, form: str) -> None:
    answer = api.post(PRODUCE, LINES, form % name)

    assert len(answer.json()["offsets"]) == 2


@pytest.mark.parametrize("name", ["application/jsonlines", "application/x-jsonlines", "Application/X-JsonLines"])
def test_so_are_the_rarer_ones(api: Api, topic: str, name: str) -> None:
    assert len(api.post(PRODUCE, LINES, name).json()["offsets"]) == 2
    assert len(api.post(f"{PRODUCE}?async=true", LINES, name).json()["requestId"]) == 36


@pytest.mark.parametrize(
    "name", ["text/json", "text/plain", "text/plain;charset=UTF-8", "Text/Plain; charset=us-ascii"]
)
def test_text_is_read_as_json(api: Api, topic: str, name: str) -> None:
    assert api.post(PRODUCE, ONE, name).status_code == 200
    assert api.post("/api/topics", '{"name":"other"}', name).status_code == 201
    assert api.post(VERSIONS, SCHEMA, name).status_code == 200


@pytest.mark.parametrize(
    "name", ["text/plain; charset=latin-1", "text/csv", "application/json-seq", "multipart/form-data"]
)
def test_another_text_is_415(api: Api, topic: str, name: str) -> None:
    assert api.post(PRODUCE, ONE, name).status_code == 415
    assert api.post("/api/topics", '{"name":"other"}', name).status_code == 415
    assert not RecordBatch.objects.exists()


@pytest.mark.parametrize("name", ["text/plain;charset=UTF-8", "text/json", "application/jsonl"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PRODUCE, ONE),
        ("/api/topics", b'{"name":"foreign"}'),
        (VERSIONS, SCHEMA),
        ("/registry/mode", b'{"mode":"READONLY"}'),
    ],
)
def test_a_beacon_of_a_foreign_page_is_refused(api: Api, topic: str, name: str, path: str, body: bytes) -> None:
    """A browser sends text/plain to any address without asking first."""
    headers = {"Origin": "https://evil.example"}
    method = api.client.put if path.endswith("mode") else api.client.post

    answer = method(path, body, content_type=name, headers=headers)

    assert answer.status_code == 403
    assert not RecordBatch.objects.exists()
    assert [found["name"] for found in api.get("/api/topics").json()] == [topic]
    assert api.get("/registry/subjects").json() == []


def test_a_beacon_of_the_servers_own_page_is_taken(api: Api, topic: str) -> None:
    assert api.post(PRODUCE, ONE, "text/plain;charset=UTF-8", Origin="http://testserver").status_code == 200


# Content-Encoding


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "GZIP", " X-Gzip "])
def test_gzip_may_have_several_members(api: Api, topic: str, name: str) -> None:
    """As `cat a.gz b.gz` makes them, and programs that append."""
    body = gzip.compress(ONE[:7]) + gzip.compress(b"") + gzip.compress(ONE[7:])

    assert encoded(api, PRODUCE, body, name).status_code == 200
    assert encoded(api, PRODUCE, gzip.compress(ONE), name).status_code == 200


def test_a_cut_or_changed_member_is_400(api: Api, topic: str) -> None:
    first, second = gzip.compress(b'{"records":[{"value":1}'), gzip.compress(b',{"value":2}]}')
    changed = bytearray(first)
    changed[-6] ^= 1
    wrong = [first + second[:length] for length in range(1, len(second))]

    for body in (*wrong, bytes(changed) + second, first + second + b"x", first + b"\0" + second, second[:5] + first):
        answer = encoded(api, PRODUCE, body, "gzip")
        assert answer.status_code == 400, body
        assert "gzip" in answer.json()["detail"]
    assert encoded(api, PRODUCE, first + second, "gzip").status_code == 200


def test_the_limit_holds_for_all_members_together(api: Api, topic: str, settings: Any) -> None:
    settings.TAKHIN_MAX_BODY_BYTES = 5000
    member = gzip.compress(b" " * 1000)

    assert encoded(api, PRODUCE, member * 4 + gzip.compress(ONE), "gzip").status_code == 200
    answer = encoded(api, PRODUCE, member * 5 + gzip.compress(ONE), "gzip")

    assert answer.status_code == 413
    assert answer.json()["detail"] == "the body exceeds 5000 bytes as decoded (TAKHIN_MAX_BODY_BYTES)"


def test_members_without_number_are_refused_at_once(api: Api, topic: str) -> None:
    """Half a million empty members, which fit in one body, take 1.4 s to begin."""
    empty = gzip.compress(b"")
    fits = empty * (MAX_GZIP_MEMBERS - 1) + gzip.compress(ONE)
    assert encoded(api, PRODUCE, fits, "gzip").status_code == 200
    before = time.thread_time()

    answer = encoded(api, PRODUCE, empty * (10 * MIB // len(empty)), "gzip")

    assert answer.status_code == 400
    assert str(MAX_GZIP_MEMBERS) in answer.json()["detail"]
    assert time.thread_time() - before < 0.7


@encodings
def test_the_registry_reads_compressed_bodies(api: Api, name: str, encode: Any) -> None:
    assert encoded(api, VERSIONS, encode(SCHEMA), name).status_code == 200
    assert encoded(api, "/registry/subjects/orders-value", encode(SCHEMA), name.upper()).json()["version"] == 1
    answer = encoded(api, VERSIONS, b"\x00\xff no such thing", name)
    assert (answer.status_code, answer.json()["error_code"]) == (422, 422)
    assert name in answer.json()["message"]


@encodings
def test_the_registry_decodes_no_further_than_the_limit(api: Api, settings: Any, name: str, encode: Any) -> None:
    settings.TAKHIN_MAX_BODY_BYTES = 5000

    answer = encoded(api, VERSIONS, encode(SCHEMA + b" " * 5000), name)

    assert answer.status_code == 413
    assert answer.json()["error_code"] == 413
    assert api.get("/registry/subjects").json() == []


def test_the_registry_names_the_encodings_it_knows(api: Api) -> None:
    answer = encoded(api, VERSIONS, SCHEMA, "br")

    assert (answer.status_code, answer.json()["error_code"]) == (415, 415)
    assert "gzip" in answer.json()["message"]


@pytest.mark.no_database
def test_a_bomb_for_the_registry_is_413(live: LiveServer) -> None:
    for name, body in (
        ("gzip", gzip.compress(bytes(6 * MIB)) * 40),
        ("zstd", zstandard.ZstdCompressor().compress(bytes(200 * MIB))),
        ("snappy", bytes(cramjam.snappy.compress_raw(bytes(150 * MIB)))),
    ):
        answer = requests.post(f"{live.url}{VERSIONS}", body, headers={"Content-Encoding": name}, timeout=30)
        assert (answer.status_code, answer.json()["error_code"]) == (413, 413)


def test_every_encoding_is_tried() -> None:
    assert {name for name, _ in ENCODINGS} == {"gzip", "deflate", "zstd", "lz4", "snappy"}


# OPTIONS

ROUTES = [
    ("/api/topics", "GET, POST, HEAD, OPTIONS"),
    ("/api/topics/orders", "GET, PATCH, DELETE, HEAD, OPTIONS"),
    ("/api/topics/orders/messages", "GET, HEAD, OPTIONS"),
    ("/api/topics/nowhere/messages", "GET, HEAD, OPTIONS"),
    (PRODUCE, "POST, OPTIONS"),
    (f"{PRODUCE}/?async=nonsense", "POST, OPTIONS"),
    ("/api/produce/status/req_x", "GET, HEAD, OPTIONS"),
    ("/api/health", "GET, HEAD, OPTIONS"),
    ("/api/health/live", "GET, HEAD, OPTIONS"),
    ("/api/health/ready", "GET, HEAD, OPTIONS"),
    ("/registry", "GET, HEAD, OPTIONS"),
    ("/registry/subjects", "GET, HEAD, OPTIONS"),
    (VERSIONS, "GET, POST, HEAD, OPTIONS"),
    ("/registry/subjects/s/versions/1", "GET, DELETE, HEAD, OPTIONS"),
    ("/registry/config", "GET, PUT, DELETE, HEAD, OPTIONS"),
    ("/registry/mode/s", "GET, PUT, DELETE, HEAD, OPTIONS"),
    ("/registry/compatibility/subjects/s/versions/latest", "POST, OPTIONS"),
    ("/openapi.json", "GET, HEAD, OPTIONS"),
]


@pytest.mark.parametrize(("path", "allowed"), ROUTES)
@pytest.mark.parametrize("is_keyed", [False, True])
def test_options_says_what_is_allowed(api: Api, path: str, allowed: str, is_keyed: bool, settings: Any) -> None:
    settings.TAKHIN_REQUIRE_API_KEY = is_keyed

    answer = api.client.options(path, headers={"Origin": "https://elsewhere.example"})

    assert answer.status_code == 204
    assert set(answer["Allow"].split(", ")) == set(allowed.split(", "))
    assert answer.content == b""
    assert answer["X-Request-Id"]
    assert "Access-Control-Allow-Origin" not in answer


@pytest.mark.parametrize("path", ["/api/nothing", "/api", "/registry/nothing", "/nothing"])
def test_options_of_no_address_is_404(api: Api, path: str) -> None:
    assert api.client.options(path).status_code == 404


@pytest.mark.no_database
def test_options_over_the_wire_has_no_body_and_keeps_the_connection(live: LiveServer) -> None:
    with requests.Session() as session:
        for _ in range(2):
            answer = session.options(f"{live.url}/api/topics/demo/produce", timeout=30)
            assert (answer.status_code, answer.headers["Allow"], answer.content) == (204, "POST, OPTIONS", b"")
        assert session.post(f"{live.url}/api/topics/demo/produce", ONE, timeout=30).status_code == 200


# Booleans


@pytest.mark.parametrize("yes", ["true", "True", "TRUE", "tRuE"])
def test_booleans_are_read_in_any_case(api: Api, topic: str, yes: str) -> None:
    assert api.post(f"{PRODUCE}?async={yes}", ONE).status_code == 202
    answer = api.post(f"{PRODUCE}?strict={yes}", b'{"records":[{},{"partition":9}]}')
    assert answer.json()["offsets"][0]["code"] == "not_attempted"
    assert api.get(f"/api/topics/orders/messages?decode={yes}").status_code == 200
    assert api.post(VERSIONS, SCHEMA).status_code == 200
    assert (
        "messages" in api.post(f"/registry/compatibility/subjects/orders-value/versions?verbose={yes}", SCHEMA).json()
    )
    assert api.client.delete("/registry/subjects/orders-value").status_code == 200
    assert api.get(f"/registry/subjects?deleted={yes}").json() == ["orders-value"]
    assert api.client.delete(f"/registry/subjects/orders-value?permanent={yes}").status_code == 200
    assert api.get(f"/registry/subjects?deleted={yes}").json() == []


@pytest.mark.parametrize("no", ["false", "False", "FALSE"])
def test_so_is_false(api: Api, topic: str, no: str) -> None:
    assert api.post(f"{PRODUCE}?async={no}&strict={no}", ONE).status_code == 200
    assert api.get(f"/api/topics/orders/messages?decode={no}").status_code == 200
    assert api.get(f"/registry/subjects?deleted={no}").status_code == 200


@pytest.mark.parametrize("neither", ["1", "0", "yes", "", "truee", "true ", "\u0131"])
def test_nothing_else_is_a_boolean(api: Api, topic: str, neither: str) -> None:
    for path in (f"{PRODUCE}?async={neither}", f"{PRODUCE}?strict={neither}"):
        answer = api.post(path, ONE)
        assert answer.status_code == 400
        assert "must be true or false" in answer.json()["detail"]
    answer = api.get(f"/api/topics/orders/messages?decode={neither}")
    assert answer.status_code == 400
    assert answer.json()["detail"] == f"decode: must be true or false, got {neither!r}"
    if neither:
        assert api.get(f"/registry/subjects?deleted={neither}").status_code == 400
