"""Every refusal is a problem a program can read, and never HTML, a traceback or a surprise."""

import json
import re
from typing import Any

import pytest
import requests
from django.db import connection
from django.test import Client

from devservers.takhin import LiveServer
from producer.models import ApiKey, ProduceRequest
from producer.queue.threads import new_worker
from takhin_site import problems
from tests.conftest import Api

MEMBERS = {"type", "title", "status", "detail", "error", "code", "retriable", "instance"}


def problem_of(answer: Any, status: int, code: str) -> Any:
    """The answer as a problem, after everything that all problems share was checked."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    problem = answer.json() if answer.content else None
    if problem is None:
        return None
    assert problem.keys() >= MEMBERS
    assert problem["type"] == f"urn:takhin:problem:{code}"
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["error"]
    assert problem["detail"]
    assert problem["title"][:1].isupper()
    assert problem["title"][1:] == problem["error"][1:]
    assert problem["instance"] == answer["X-Request-Id"]
    assert problem["retriable"] is (status in (429, 503))
    assert ("Retry-After" in answer) is (status in (429, 503))
    return problem


def call(api: Api, method: str, path: str, body: str = "", **headers: str) -> Any:
    return api.client.generic(method, path, body, content_type="application/json", headers=headers)


def test_it_works(api: Api) -> None:
    problem = problem_of(api.get("/api/topics/nowhere"), 404, "topic_not_found")

    assert problem["error"] == "topic not found"
    assert problem["detail"] == "there is no topic named 'nowhere'"


PRODUCE = "/api/topics/orders/produce"
WRONG: list[tuple[str, str, str, int, str, str]] = [
    ("GET", "/api", "", 404, "not_found", "not found"),
    ("GET", "/api/", "", 404, "not_found", "not found"),
    ("GET", "/api/nothing", "", 404, "not_found", "not found"),
    ("POST", "/api/topics/a/b/c", "", 404, "not_found", "not found"),
    ("GET", "/api/produce/status/", "", 404, "not_found", "not found"),
    ("GET", "/api/topics//produce", "", 404, "not_found", "not found"),
    ("GET", "/nothing", "", 404, "not_found", "not found"),
    ("GET", PRODUCE, "", 405, "method_not_allowed", "method not allowed"),
    ("PUT", "/api/topics/orders", "", 405, "method_not_allowed", "method not allowed"),
    ("DELETE", "/api/topics", "", 405, "method_not_allowed", "method not allowed"),
    ("POST", "/api/health", "", 405, "method_not_allowed", "method not allowed"),
    ("POST", "/api/produce/status/req_x", "", 405, "method_not_allowed", "method not allowed"),
    ("TRACE", "/api/topics", "", 405, "method_not_allowed", "method not allowed"),
    ("BREW", "/api/topics", "", 405, "method_not_allowed", "method not allowed"),
    ("GET", "/api/topics/orders/messages?partition=9", "", 404, "unknown_partition", "unknown partition"),
    ("GET", "/api/produce/status/req_unknown", "", 404, "request_not_found", "request not found"),
    ("POST", "/api/topics", '{"name":"orders"}', 409, "topic_exists", "topic exists"),
    ("POST", "/api/topics", '{"name":"a b"}', 400, "invalid_request_body", "invalid request body"),
    ("POST", "/api/topics", "{", 400, "invalid_request_body", "invalid request body"),
    ("POST", "/api/topics", "[]", 400, "invalid_request_body", "invalid request body"),
    ("POST", "/api/topics", "", 400, "invalid_request_body", "invalid request body"),
    ("POST", PRODUCE, "{", 400, "invalid_request_body", "invalid request body"),
    ("POST", PRODUCE, '{"records":[]}', 400, "no_records", "no records to produce"),
    ("POST", PRODUCE + "?x=1", "{}", 400, "invalid_parameter", "invalid query parameter"),
    ("POST", PRODUCE + "?async=1", "{}", 400, "invalid_parameter", "invalid query parameter"),
    ("POST", PRODUCE + "?value.format=xml", "{}", 400, "unsupported_format", "unsupported format: xml"),
    ("POST", PRODUCE, '{"records":[{"partition":9}]}', 422, "no_record_written", "no record was written"),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "error"), WRONG, ids=[f"{row[0]} {row[1]} {row[2]}" for row in WRONG]
)
@pytest.mark.parametrize("accept", ["text/html,application/xhtml+xml", "application/xml", "*/*", "nonsense"])
def test_every_refusal_is_a_problem(
    api: Api, topic: str, method: str, path: str, body: str, status: int, code: str, error: str, accept: str
) -> None:
    problem = problem_of(call(api, method, path, body, Accept=accept), status, code)

    assert problem["error"] == error


def test_405_says_what_is_allowed(api: Api, topic: str) -> None:
    assert (
        call(api, "PUT", "/api/topics")["Allow"] == "GET, POST, HEAD, OPTIONS"
        or "GET" in call(api, "PUT", "/api/topics")["Allow"]
    )
    assert "POST" in call(api, "GET", PRODUCE)["Allow"]


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        (PRODUCE + "?compresion=gzip", "unknown parameter 'compresion'; expected one of key.format, value.format,"),
        (PRODUCE + "?compression=gzip&compression=gzip", "parameter 'compression' appears more than once"),
        (PRODUCE + "?async", "async must be true or false, got ''"),
        (PRODUCE + "?strict=1", "strict must be true or false, got '1'"),
        (PRODUCE + "?value.schema=%ff", "the query string is not valid percent-encoded UTF-8"),
        (PRODUCE + "?value.schema=%00", "parameter 'value.schema' contains a null character"),
        (PRODUCE + "?" + "&".join(f"a{number}=1" for number in range(60)), "the query string "),
    ],
)
def test_a_wrong_parameter_of_produce_is_named(api: Api, topic: str, path: str, detail: str) -> None:
    assert call(api, "POST", path, '{"records":[{}]}').json()["detail"].startswith(detail)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/topics"),
        ("POST", "/api/topics"),
        ("GET", "/api/topics/orders"),
        ("PATCH", "/api/topics/orders"),
        ("DELETE", "/api/topics/orders"),
        ("GET", "/api/topics/orders/messages"),
        ("GET", "/api/produce/status/ID"),
    ],
)
def test_an_unknown_or_repeated_parameter_is_400_everywhere(api: Api, topic: str, method: str, path: str) -> None:
    request_id = api.produce(topic, [{}], async_="true").json()["requestId"]
    path = path.replace("ID", request_id)

    problem = problem_of(call(api, method, f"{path}?limt=1", '{"name":"new"}'), 400, "invalid_parameter")
    assert problem["detail"].startswith("limt: unknown parameter; ")

    for name in ("limit", "wait"):
        if name == {"messages": "limit", "status": "wait"}.get(path.split("/")[-1 if "messages" in path else -2]):
            problem = problem_of(call(api, method, f"{path}?{name}=1&{name}=1"), 400, "invalid_parameter")
            assert problem["detail"] == f"{name}: this parameter appears more than once"


def test_an_unknown_topic_comes_before_every_other_complaint(api: Api) -> None:
    for method, path in (
        ("GET", "/api/topics/nowhere?x=1"),
        ("PATCH", "/api/topics/nowhere?x=1"),
        ("DELETE", "/api/topics/nowhere?x=1"),
        ("GET", "/api/topics/nowhere/messages?x=1"),
        ("POST", "/api/topics/nowhere/produce?x=1"),
        ("POST", "/api/topics/%00%ff/produce"),
        ("GET", "/api/topics/" + "x" * 2000),
    ):
        problem_of(call(api, method, path, "nonsense"), 404, "topic_not_found")


# X-Request-Id


@pytest.mark.parametrize("given", ["a", "my-id_1.2~3", "x" * 128])
def test_a_request_id_is_echoed(api: Api, given: str) -> None:
    answer = api.get("/api/topics/nowhere", **{"X-Request-Id": given})

    assert answer["X-Request-Id"] == given
    assert answer.json()["instance"] == given


@pytest.mark.parametrize(
    "given", ["", " ", "a b", "x" * 129, "a\r\nSet-Cookie: x=1", "a\n", "\u00e9", '"', "<script>", "\x00", "a,b"]
)
def test_an_unusable_request_id_is_replaced(api: Api, given: str) -> None:
    answer = api.client.get("/api/topics/nowhere", HTTP_X_REQUEST_ID=given)

    assert re.fullmatch(r"[0-9a-f]{32}", answer["X-Request-Id"])
    assert answer.json()["instance"] == answer["X-Request-Id"]


@pytest.mark.parametrize("path", ["/", "/api/topics", "/api/health/live", "/swagger/", "/admin/login/", "/nothing"])
def test_every_answer_has_a_request_id_of_its_own(api: Api, path: str) -> None:
    ids = {api.get(path)["X-Request-Id"] for _ in range(3)}

    assert len(ids) == 3


@pytest.mark.no_database
def test_the_request_id_stands_in_every_log_line(live: LiveServer) -> None:
    headers = {"X-Request-Id": "find-me-in-the-log"}

    requests.post(
        f"{live.url}/api/topics/nowhere/produce", json={"secret": "never-logged"}, headers=headers, timeout=10
    )

    lines = [json.loads(line) for line in live.log.read_text().splitlines() if "find-me-in-the-log" in line]
    assert [
        {name: line[name] for name in ("event", "method", "path", "status", "httpRequestId", "code", "level")}
        for line in lines
    ] == [
        {
            "event": "request",
            "method": "POST",
            "path": "/api/topics/nowhere/produce",
            "status": 404,
            "httpRequestId": "find-me-in-the-log",
            "code": "topic_not_found",
            "level": "info",
        }
    ]
    assert "never-logged" not in live.log.read_text()


@pytest.mark.no_database
def test_a_path_cannot_forge_a_log_line(live: LiveServer) -> None:
    requests.get(f"{live.url}/api/topics/forged%0a%7b%22event%22:%22x%22%7d", timeout=10)

    (line,) = [line for line in live.log.read_text().splitlines() if "forged" in line]
    assert json.loads(line)["path"] == '/api/topics/forged\n{"event":"x"}'


# A NUL, which PostgreSQL's text cannot hold


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/topics/a%00", 404),
        ("/api/topics/a%00/messages", 404),
        ("/api/produce/status/req_%00", 404),
        ("/api/topics/orders/messages?offset=%00", 400),
        ("/registry/subjects/a%00/versions", 422),
        ("/registry/subjects?subjectPrefix=%00", 200),
        ("/registry/config/a%00", 422),
        ("/registry/mode/a%00", 422),
        ("/admin/producer/producerequest/%00/change/", 400),
        ("/admin/producer/producerequest/_00/change/", 302),
        ("/admin/producer/producerequest/?topic=%00", 400),
        ("/admin/topics/topic/?name=%00", 400),
    ],
)
def test_an_address_with_a_null_character_leads_nowhere(
    api: Api, topic: str, admin_client: Client, path: str, status: int
) -> None:
    client = admin_client if path.startswith("/admin") else api.client

    answer = client.get(path)

    assert answer.status_code == status
    assert answer["Content-Type"].startswith("text/html" if path.startswith("/admin") else "application/")


def test_a_null_character_in_a_name_of_the_body_is_refused(api: Api, topic: str) -> None:
    assert api.post("/api/topics", {"name": "a\0"}).status_code == 400
    body = {"schema": '"int"', "references": [{"name": "x", "subject": "u\0", "version": 1}]}
    assert api.post("/registry/subjects/user/versions", body).status_code == 422


def test_a_null_character_in_records_is_kept_and_told(api: Api, topic: str) -> None:
    """A record's error that quoted one could not be tracked on PostgreSQL: 500."""
    schema = {"type": "record", "name": "x", "fields": []}
    body = {"valueSchema": schema, "records": [{"value": {"a\0": 1}}]}
    for is_async in ("false", "true"):
        answer = api.post(f"/api/topics/orders/produce?value.format=avro&async={is_async}", body)
        assert answer.status_code == (202 if is_async == "true" else 422)
    new_worker().work_once()

    assert {row.status for row in ProduceRequest.objects.all()} == {"failed"}
    assert all("a\\x00" in row.error for row in ProduceRequest.objects.all())
    assert api.produce(topic, [{"key": "\0", "value": "\0", "headers": [{"key": "\0"}]}]).status_code == 200


# When it is our own fault

BROKEN = bytes.fromhex("28b52ffd00")


@pytest.fixture
def broken_status(api: Api) -> Any:
    """A database whose table of requests holds what no version of this product wrote."""
    api.create_topic()
    request_id = api.produce("orders", [{}], async_="true").json()["requestId"]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE producer_producerequest SET status = 'failed', outcomes = %s", [BROKEN])
    return request_id


def test_an_unexpected_error_is_500_without_a_traceback(api: Api, broken_status: str) -> None:
    answer = api.get(f"/api/produce/status/{broken_status}", Accept="text/html")

    problem = problem_of(answer, 500, "internal_error")
    assert problem["detail"] == "the error is logged under this X-Request-Id"
    assert "Traceback" not in answer.content.decode()


@pytest.mark.no_database
def test_an_unexpected_error_is_logged_under_the_request_id(live: LiveServer) -> None:
    request_id = live.produce("demo", [{}], **{"async": "true"}).json()["requestId"]
    url = f"{live.url}/api/produce/status/{request_id}"
    requests.get(url, params={"wait": 20}, timeout=30)
    row = f"ProduceRequest.objects.filter(pk={request_id!r})"
    live.manage("shell", "-v0", "-c", f"from producer.models import *; {row}.update(outcomes={BROKEN!r})")

    answer = requests.get(url, timeout=10)

    assert answer.status_code == 500
    lines = [json.loads(line) for line in live.log.read_text().splitlines() if answer.headers["X-Request-Id"] in line]
    failure, request = lines
    assert (failure["level"], failure["event"]) == ("error", "unexpected_error")
    assert "Traceback" in failure["exception"]
    assert (request["event"], request["status"]) == ("request", 500)


def test_debug_shows_no_traceback_under_api_either(api: Api, broken_status: str, settings: Any) -> None:
    settings.DEBUG = True

    problem_of(api.get(f"/api/produce/status/{broken_status}"), 500, "internal_error")
    problem_of(api.get("/api/nothing"), 404, "not_found")


def test_a_broken_database_is_503_with_retry_after(api: Api, topic: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE topics_topic RENAME TO topics_gone")
        cursor.execute("ALTER TABLE producer_producerequest RENAME TO producer_gone")
    try:
        for answer in (
            api.get("/api/topics"),
            api.get("/api/topics/orders"),
            api.post("/api/topics", {"name": "new"}),
            api.produce("other", [{}]),
            api.produce(topic, [{}], async_="true"),
            api.get("/api/produce/status/req_x"),
        ):
            problem_of(answer, 503, "log_unavailable")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE topics_gone RENAME TO topics_topic")
            cursor.execute("ALTER TABLE producer_gone RENAME TO producer_producerequest")


def test_a_sync_request_to_a_broken_database_keeps_its_records_places(api: Api, topic: str) -> None:
    assert api.produce(topic, [{}]).status_code == 200
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE topics_recordbatch RENAME TO topics_gone")
    try:
        answer = api.produce(topic, [{}, {}])
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE topics_gone RENAME TO topics_recordbatch")

    problem = problem_of(answer, 503, "no_record_written")
    assert [(failure["code"], failure["retriable"]) for failure in problem["offsets"]] == [
        ("log_unavailable", True)
    ] * 2


@pytest.mark.parametrize("path", ["/api/topics", "/api/nothing", "/", "/swagger/"])
def test_a_host_that_is_not_ours_is_400(api: Api, settings: Any, path: str) -> None:
    """A web page that points its own name at this machine (DNS rebinding) must not reach an open server."""
    settings.ALLOWED_HOSTS = ["localhost"]

    for host in ("evil.example", "local host", "localhost:80:80", "[::1"):
        problem_of(api.client.get(path, HTTP_HOST=host), 400, "bad_request")
    assert api.client.get(path, HTTP_HOST="localhost:8080").status_code in (200, 404)


def test_a_probe_may_come_by_address(api: Api, settings: Any) -> None:
    """Kubernetes asks a pod by its address, whatever names it serves."""
    settings.ALLOWED_HOSTS = ["takhin.example.com"]

    assert api.client.get("/api/health/live", HTTP_HOST="10.0.0.7:8080").status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/topics", "/api/topics/orders", "/api/health", "/openapi.json"])
def test_head_is_get_without_its_body(api: Api, topic: str, path: str) -> None:
    head, get = api.client.head(path), api.client.get(path)

    assert head.status_code == get.status_code == 200
    assert head.content == b""
    assert head["Content-Type"] == get["Content-Type"]
    assert head["Content-Length"] == get["Content-Length"]


@pytest.mark.no_database
def test_head_over_the_wire(live: LiveServer) -> None:
    answer = requests.head(f"{live.url}/api/topics/nowhere", timeout=10)

    assert (answer.status_code, answer.content) == (404, b"")
    assert requests.head(f"{live.url}/api/topics", timeout=10).status_code == 200


def test_answers_are_not_guessed_at(api: Api, topic: str) -> None:
    for path in ("/api/topics", "/api/nothing", "/"):
        assert api.get(path)["X-Content-Type-Options"] == "nosniff"


@pytest.mark.no_database
def test_every_status_of_the_table_is_a_refusal() -> None:
    assert set(problems.STATUSES.values()) <= {400, 403, 404, 409, 410, 413, 415, 422, 429, 502, 503, 504}


def test_a_key_that_is_required_is_told_in_a_challenge(api: Api, settings: Any) -> None:
    settings.TAKHIN_REQUIRE_API_KEY = True
    assert not ApiKey.objects.exists()

    problem = problem_of(api.get("/api/topics"), 401, "missing_authorization")

    assert problem["error"] == "missing authorization header"
    assert api.get("/api/topics")["WWW-Authenticate"] == 'Bearer realm="takhin"'
