"""A key is required by default, may do what it was made for and no more, and is never kept or logged."""

import base64
import itertools
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from structlog.testing import capture_logs

from core import wrong_guesses
from devservers import ROOT
from devservers.takhin import LiveServer
from producer import authentication
from producer.models import ApiKey
from producer.queue.threads import new_worker
from tests.conftest import Api


class Clock:
    """A stand-in for the time module of producer.authentication, so that a cache ages without a wait."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(authentication, "time", clock)
    return clock


@pytest.fixture
def required(api: Api, topic: str, settings: Any) -> Api:
    """The API with the topic orders, from here on with keys required."""
    api.create_topic("payments", 1)
    settings.TAKHIN_REQUIRE_API_KEY = True
    return api


def make_key(**columns: Any) -> str:
    key = ApiKey(**{"name": "a key", **columns})
    secret = key.issue_secret()
    key.save()
    return secret


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def call(api: Api, method: str, path: str, secret: str, body: str = "") -> Any:
    return api.client.generic(method, path, body, content_type="application/json", headers=bearer(secret))


def test_it_works(required: Api) -> None:
    secret = make_key()

    answer = required.post("/api/topics/orders/produce", {"records": [{"value": 1}]}, **bearer(secret))

    assert answer.status_code == 200


def test_a_request_without_a_key_is_401(required: Api) -> None:
    for headers in ({}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer  "}):
        answer = required.get("/api/topics", **headers)
        assert answer.status_code == 401
        assert answer.json()["error"] == "missing authorization header"
        assert answer.json()["code"] == "missing_authorization"
        assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "given", ["wrong", "Bearer wrong", "Basic dXNlcjpwdw==", "Bearer \u00e9", "Api-Key x y", "tk_"]
)
def test_a_wrong_key_is_401(required: Api, given: str) -> None:
    answer = required.client.get("/api/topics", HTTP_AUTHORIZATION=given)

    assert answer.status_code == 401
    assert answer.json()["error"] == "invalid API key"
    assert answer.json()["code"] == "invalid_api_key"


def test_part_of_a_key_or_what_is_stored_of_it_is_no_key(required: Api) -> None:
    secret = make_key()
    key = ApiKey.objects.get()

    for given in (secret[:-1], secret + "x", secret.upper(), key.digest, key.prefix):
        assert required.get("/api/topics", **bearer(given)).status_code == 401


def test_a_key_comes_in_any_of_four_headers(required: Api) -> None:
    secret = make_key()

    for headers in (
        {"Authorization": secret},
        {"Authorization": f"Bearer {secret}"},
        {"Authorization": f"bearer   {secret} "},
        {"Authorization": f"Api-Key {secret}"},
        {"X-API-Key": secret},
    ):
        assert required.get("/api/topics", **headers).status_code == 200, headers


def test_authorization_comes_before_x_api_key(required: Api) -> None:
    assert required.get("/api/topics", **{"Authorization": "wrong", "X-API-Key": make_key()}).status_code == 401


ENDPOINTS = [
    ("POST", "/api/topics/orders/produce", '{"records":[{}]}', "produce", 200),
    ("POST", "/api/topics/orders/produce?async=true", '{"records":[{}]}', "produce", 202),
    ("GET", "/api/produce/status/req_x", "", "produce", 404),
    ("GET", "/api/topics", "", "read", 200),
    ("HEAD", "/api/topics", "", "read", 200),
    ("GET", "/api/topics/orders", "", "read", 200),
    ("GET", "/api/topics/orders/messages", "", "read", 200),
    ("POST", "/api/topics", '{"name":"new"}', "manage", 201),
    ("PATCH", "/api/topics/orders", "{}", "manage", 200),
    ("DELETE", "/api/topics/orders", "", "manage", 204),
]


@pytest.mark.parametrize(("method", "path", "body", "needed", "status"), ENDPOINTS)
@pytest.mark.parametrize("scope", ["produce", "read", "manage"])
def test_a_scope_opens_its_endpoints_alone(
    required: Api, method: str, path: str, body: str, needed: str, status: int, scope: str
) -> None:
    answer = call(required, method, path, make_key(scopes=scope), body)

    if scope == needed:
        assert answer.status_code == status, answer.content
        return
    assert answer.status_code == 403, answer.content
    if method != "HEAD":
        assert answer.json()["code"] == "missing_scope"
        assert answer.json()["error"] == f"this API key lacks the scope {needed}"


@pytest.mark.parametrize(
    ("patterns", "allowed", "refused"),
    [
        ("*", ["orders", "payments"], []),
        ("orders", ["orders"], ["payments", "orders2", "order", "ORDERS"]),
        ("orders,payments", ["orders", "payments"], ["p"]),
        ("orders.*", ["orders.eu"], ["orders", "payments"]),
        ("orders,orders.*", ["orders", "orders.eu"], ["orders-eu"]),
        ("ord*", ["orders", "ord"], ["payments", "or"]),
    ],
)
def test_a_pattern_opens_its_topics_alone(required: Api, patterns: str, allowed: list[str], refused: list[str]) -> None:
    secret = make_key(topics=patterns)

    for name in allowed:
        assert call(required, "GET", f"/api/topics/{name}", secret).status_code in (200, 404)
        assert call(required, "POST", "/api/topics", secret, f'{{"name":"{name}"}}').status_code in (201, 409)
    for name in refused:
        for method, path in (
            ("GET", f"/api/topics/{name}"),
            ("POST", f"/api/topics/{name}/produce"),
            ("GET", f"/api/topics/{name}/messages"),
            ("PATCH", f"/api/topics/{name}"),
            ("DELETE", f"/api/topics/{name}"),
            ("POST", "/api/topics"),
        ):
            answer = call(required, method, path, secret, f'{{"name":"{name}"}}')
            assert answer.status_code == 403, (method, path)
            assert answer.json()["code"] == "topic_not_allowed"
            assert answer.json()["error"] == f"this API key may not use topic {name}"


def test_the_list_shows_allowed_topics_alone(required: Api) -> None:
    def listed(patterns: str) -> list[str]:
        return [topic["name"] for topic in call(required, "GET", "/api/topics", make_key(topics=patterns)).json()]

    assert listed("*") == ["orders", "payments"]
    assert listed("pay*") == ["payments"]
    assert listed("nothing") == []


def test_a_pattern_keeps_topics_from_being_made_by_producing(required: Api, settings: Any) -> None:
    settings.TAKHIN_AUTO_CREATE_TOPICS = True

    assert call(required, "POST", "/api/topics/fresh/produce", make_key(topics="orders"), "{}").status_code == 403
    assert len(required.get("/api/topics", **bearer(make_key())).json()) == 2


# Time


def test_an_expired_key_is_refused(required: Api) -> None:
    soon, past = timezone.now() + timedelta(hours=1), timezone.now() - timedelta(seconds=1)

    assert call(required, "GET", "/api/topics", make_key(expires_at=soon)).status_code == 200
    assert call(required, "GET", "/api/topics", make_key(expires_at=past)).status_code == 401


def test_a_key_expires_while_it_is_remembered(required: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = make_key(expires_at=timezone.now() + timedelta(minutes=1))
    assert call(required, "GET", "/api/topics", secret).status_code == 200

    later = timezone.now() + timedelta(minutes=2)
    monkeypatch.setattr(authentication.timezone, "now", lambda: later)

    assert call(required, "GET", "/api/topics", secret).status_code == 401


def test_a_revoked_key_stops_within_ten_seconds(required: Api, clock: Clock) -> None:
    secret = make_key()
    assert call(required, "GET", "/api/topics", secret).status_code == 200

    ApiKey.objects.update(revoked_at=timezone.now())
    clock.now += 10

    answer = call(required, "GET", "/api/topics", secret)
    assert answer.status_code == 401
    assert answer.json()["error"] == "invalid API key"


def test_a_deleted_or_narrowed_key_stops_within_ten_seconds(required: Api, clock: Clock) -> None:
    narrowed, deleted = make_key(name="narrowed"), make_key(name="deleted")
    for secret in (narrowed, deleted):
        assert call(required, "GET", "/api/topics", secret).status_code == 200

    ApiKey.objects.filter(name="narrowed").update(scopes="produce")
    ApiKey.objects.filter(name="deleted").delete()
    clock.now += 10

    assert call(required, "GET", "/api/topics", narrowed).status_code == 403
    assert call(required, "GET", "/api/topics", deleted).status_code == 401


def test_a_key_costs_no_query_per_request(required: Api, clock: Clock, django_assert_num_queries: Any) -> None:
    secret = make_key()
    assert call(required, "GET", "/api/nothing", secret).status_code == 404
    assert call(required, "PUT", "/api/topics", secret).status_code == 405

    with django_assert_num_queries(0):
        for _ in range(5):
            assert call(required, "PUT", "/api/topics", secret).status_code == 405
    clock.now += 10
    with django_assert_num_queries(1):
        assert call(required, "PUT", "/api/topics", secret).status_code == 405


def test_a_wrong_key_costs_no_query_per_request_either(required: Api, django_assert_num_queries: Any) -> None:
    assert call(required, "GET", "/api/topics", "wrong").status_code == 401

    with django_assert_num_queries(0):
        assert call(required, "GET", "/api/topics", "wrong").status_code == 401


def test_guesses_cannot_fill_the_memory(required: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "CACHE_SIZE", 10)
    monkeypatch.setattr(wrong_guesses, "MOST_ADDRESSES", 10)
    secret = make_key()
    assert call(required, "GET", "/api/topics", secret).status_code == 200

    for number in range(50):
        assert guess(required, f"guess{number}", f"203.0.113.{number}").status_code == 401

    assert len(authentication._cache) <= 10
    assert len(wrong_guesses.keys._counts) <= 10
    assert authentication.digest_of(secret) in authentication._cache


# Guessing


def guess(api: Api, secret: str = "wrong", address: str = "203.0.113.7", path: str = "/api/topics") -> Any:
    return api.client.get(path, headers=bearer(secret), REMOTE_ADDR=address)


def test_wrong_keys_are_slowed_down(required: Api, settings: Any, django_assert_num_queries: Any) -> None:
    """300 wrong keys in half a second were looked up one by one."""
    settings.TAKHIN_WRONG_KEYS_PER_MINUTE = 5
    assert [guess(required, f"wrong{number}").status_code for number in range(7)] == [401] * 5 + [429] * 2

    with django_assert_num_queries(0):
        answers = [guess(required, f"other{number}") for number in range(5)]
    for answer in answers:
        assert answer.status_code == 429
        assert 1 <= int(answer["Retry-After"]) <= 61
        assert answer.json()["code"] == "too_many_wrong_keys"
        assert answer.json()["error"] == "too many wrong API keys from this address"
        assert answer.json()["retriable"] is True


def test_the_same_wrong_key_counts_each_time(required: Api, settings: Any) -> None:
    settings.TAKHIN_WRONG_KEYS_PER_MINUTE = 5

    assert [guess(required).status_code for _ in range(7)] == [401] * 5 + [429] * 2


def test_the_registry_slows_guesses_down_in_its_own_form(required: Api, settings: Any) -> None:
    settings.TAKHIN_WRONG_KEYS_PER_MINUTE = 1
    guess(required)

    answer = guess(required, path="/registry/subjects")

    assert answer.status_code == 429
    assert answer.json()["error_code"] == 429
    assert 1 <= int(answer["Retry-After"]) <= 61


def test_a_right_key_behind_the_same_address_goes_on(required: Api, settings: Any, clock: Clock) -> None:
    settings.TAKHIN_WRONG_KEYS_PER_MINUTE = 3
    secret = make_key()
    assert guess(required, secret).status_code == 200
    for _ in range(5):
        guess(required)

    assert guess(required, secret).status_code == 200
    # Nor when it is to be looked up again; but no longer once it was revoked.
    clock.now += 10
    assert guess(required, secret).status_code == 200
    ApiKey.objects.update(revoked_at=timezone.now())
    clock.now += 10
    assert guess(required, secret).status_code == 401
    assert guess(required, secret).status_code == 429


def test_other_addresses_are_not_slowed_down(required: Api, settings: Any) -> None:
    settings.TAKHIN_WRONG_KEYS_PER_MINUTE = 3
    for number in range(5):
        guess(required, address=f"2001:db8:1:2::{number}")

    assert guess(required, make_key(), "2001:db8:1:2::99").status_code == 429
    assert guess(required, make_key(), "2001:db8:1:3::1").status_code == 200
    assert guess(required, "wrong", "203.0.113.8").status_code == 401


def test_right_keys_and_missing_ones_are_no_guesses(required: Api, settings: Any) -> None:
    settings.TAKHIN_WRONG_KEYS_PER_MINUTE = 3
    secret = make_key(scopes="read", topics="orders")
    for _ in range(5):
        assert guess(required, secret).status_code == 200
        assert guess(required, secret, path="/api/topics/payments").status_code == 403
        assert guess(required, "").status_code == 401

    assert guess(required).status_code == 401


def test_after_a_minute_an_address_may_try_again(
    required: Api, settings: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wrong_guesses, "time", clock)
    settings.TAKHIN_WRONG_KEYS_PER_MINUTE = 3
    for _ in range(5):
        guess(required)
    clock.now += 59
    assert guess(required, make_key()).status_code == 429
    clock.now += 2

    assert [guess(required).status_code for _ in range(4)] == [401, 401, 401, 429]


def test_there_may_be_no_limit(required: Api, settings: Any) -> None:
    settings.TAKHIN_WRONG_KEYS_PER_MINUTE = 0

    assert {guess(required).status_code for _ in range(100)} == {401}


def test_a_rejected_key_is_logged_with_its_client(required: Api, settings: Any) -> None:
    settings.TAKHIN_WRONG_KEYS_PER_MINUTE = 3
    unknown = ApiKey(name="unknown").issue_secret()
    with capture_logs() as lines:
        for secret in (unknown, "hunter2", "tk_", "tk_more"):
            guess(required, secret)

    rejected = [line for line in lines if line["event"] == "api_key_rejected"]
    assert [line["key"] for line in rejected] == [unknown[:11], None, None]
    assert {line["client"] for line in rejected} == {"203.0.113.7"}
    (throttled,) = [line for line in lines if line["event"] == "api_key_throttled"]
    assert throttled["client"] == "203.0.113.7"
    assert unknown not in str(lines)
    assert "hunter2" not in str(lines)


def test_when_a_key_was_last_used_is_noted(required: Api) -> None:
    secret = make_key()
    assert ApiKey.objects.get().last_used_at is None

    call(required, "GET", "/api/topics", secret)

    used = ApiKey.objects.get().last_used_at
    assert used is not None
    assert abs(timezone.now() - used) < timedelta(minutes=1)


@pytest.mark.parametrize(("seconds", "is_noted"), [(30, False), (90, True)])
def test_the_use_of_a_key_is_noted_once_a_minute(required: Api, seconds: int, is_noted: bool) -> None:
    secret = make_key()
    before = timezone.now() - timedelta(seconds=seconds)
    ApiKey.objects.update(last_used_at=before)

    call(required, "GET", "/api/topics", secret)

    used = ApiKey.objects.get().last_used_at
    assert used is not None
    assert (used > before) is is_noted


# Whose request it is


def test_a_status_belongs_to_its_key(required: Api, settings: Any) -> None:
    mine, other = make_key(name="mine"), make_key(name="other")
    answer = call(required, "POST", "/api/topics/orders/produce?async=true", mine, '{"records":[{}]}')
    path = answer["Location"]
    new_worker().work_once()

    assert call(required, "GET", path, mine).json()["status"] == "completed"
    for query in ("", "?wait=1"):
        stranger = call(required, "GET", path + query, other)
        unknown = call(required, "GET", "/api/produce/status/req_unknown", other)
        assert stranger.status_code == unknown.status_code == 404
        assert stranger.json()["error"] == unknown.json()["error"] == "request not found"
    assert required.get(path).status_code == 401


def test_health_and_docs_need_no_key(required: Api) -> None:
    paths = ("/", "/api/health", "/api/health/live", "/api/health/ready", "/openapi.json", "/swagger/", "/redoc/")
    for path in paths:
        assert required.get(path).status_code == 200, path
        assert required.get(path, **bearer("wrong")).status_code == 200, path


def test_an_open_server_ignores_the_header(api: Api, topic: str) -> None:
    for headers in ({"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}, {"Authorization": "Basic !"}):
        assert api.get("/api/topics", **headers).status_code == 200


# The secret


def test_the_secret_is_nowhere_in_the_database(required: Api) -> None:
    secret = make_key(name="findable")
    assert call(required, "POST", "/api/topics/orders/produce", secret, '{"records":[{}]}').status_code == 200

    kept = list(values_of_all_tables())

    assert "findable" in kept
    assert not [value for value in kept if secret.split("_", 2)[2] in value]


def values_of_all_tables() -> Iterator[str]:
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT * FROM "{table}"')
            for value in itertools.chain.from_iterable(cursor.fetchall()):
                yield bytes(value).decode("latin-1") if isinstance(value, (bytes, memoryview)) else str(value)


def test_a_key_is_long_and_random() -> None:
    secrets = {ApiKey(name="x").issue_secret() for _ in range(100)}

    assert len(secrets) == 100
    # 256 bits are 43 characters of base64.
    assert all(len(secret.split("_", 2)[2]) == 43 for secret in secrets)


@pytest.mark.no_database
def test_a_key_works_on_a_real_server_and_is_not_logged(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_REQUIRE_API_KEY="true").start()
    try:
        server.manage("create_topic", "demo")
        secret = server.manage("create_api_key", "ci", "--scopes", "produce", "--topics", "demo").splitlines()[-1]
        body = {"records": [{"value": "a private thing"}]}
        url = f"{server.url}/api/topics/demo/produce"
        assert requests.post(url, json=body, timeout=10).status_code == 401
        answer = requests.post(url, json=body, headers=bearer(secret), timeout=10)
        assert answer.status_code == 200, answer.text
        # Even where it is sent by mistake.
        requests.get(f"{server.url}/api/topics/demo", params={"key": secret}, headers=bearer(secret), timeout=10)
    finally:
        server.stop()

    log = server.log.read_text()
    assert f'"key":"{secret[:11]}"' in log
    assert secret not in log
    assert "a private thing" not in log
    for file in filter(Path.is_file, (tmp_path / "data").rglob("*")):
        assert secret.encode() not in file.read_bytes(), file


# The command


def create(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    call_command("create_api_key", *arguments)
    return capfd.readouterr().out


def test_the_command_prints_the_secret_alone_on_its_last_line(required: Api, capfd: pytest.CaptureFixture[str]) -> None:
    out = create(capfd, "ci")

    secret = out.splitlines()[-1]
    assert out.endswith(f"{secret}\n")
    assert call(required, "GET", "/api/topics", secret).status_code == 200
    key = ApiKey.objects.get()
    assert (key.name, key.scopes) == ("ci", "produce,read,manage,schemas,metrics")
    assert (key.topics, key.expires_at) == ("*", None)
    assert secret.startswith(key.prefix)


def test_the_command_takes_scopes_topics_and_an_expiry(capfd: pytest.CaptureFixture[str]) -> None:
    create(capfd, "ci", "--scopes", "produce,read", "--topics", "orders,orders.*", "--expires", "90d")

    key = ApiKey.objects.get()
    assert (key.scopes, key.topics) == ("produce,read", "orders,orders.*")
    assert key.expires_at is not None
    assert timedelta(days=89) < key.expires_at - timezone.now() <= timedelta(days=90)


def test_spaces_after_commas_do_no_harm(required: Api, capfd: pytest.CaptureFixture[str]) -> None:
    secret = create(capfd, "ci", "--scopes", "produce, read", "--topics", "orders, payments").splitlines()[-1]

    assert call(required, "GET", "/api/topics/payments", secret).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x", "--scopes", "produce,write"], "unknown scope 'write'; expected one of produce, read, manage"),
        (["x", "--scopes", ""], "unknown scope ''; expected one of produce, read, manage"),
        (["x", "--topics", ""], "topic pattern '' must be a topic name, or a prefix followed by *"),
        (["x", "--topics", "a*b"], "topic pattern 'a\\*b' must be a topic name"),
        (["x", "--topics", "a b"], "topic pattern 'a b' must be a topic name"),
        (["x", "--expires", "90"], "'90' is not a number with a unit"),
        (["x", "--expires", "soon"], "'soon' is not a number with a unit"),
        (["x", "--expires", "0d"], "0"),
        (["x" * 101], "100 characters"),
        ([""], "name"),
        ([], "name"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message) as caught:
        call_command("create_api_key", *arguments)
    assert "__all__" not in str(caught.value)

    assert not ApiKey.objects.exists()


# Starting


@pytest.mark.no_database
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com"])
def test_an_open_server_on_another_address_refuses_to_start(tmp_path: Path, host: str) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_HOST=host)

    done = subprocess.run(
        [sys.executable, "manage.py", "serve"],
        cwd=ROOT,
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert "TAKHIN_REQUIRE_API_KEY must be true" in line
    assert host in line


@pytest.mark.no_database
def test_an_open_server_says_so_loudly_once(live: LiveServer) -> None:
    loud = [line for line in live.log.read_text().splitlines() if "OPEN: no API key is required" in line]

    assert len(loud) == 1


def basic(credentials: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}


def test_of_basic_credentials_the_password_is_the_key(required: Api) -> None:
    secret = make_key()

    assert required.get("/api/topics", **basic(f"anyone:{secret}")).status_code == 200
    assert required.get("/api/topics", **basic(f":{secret}")).status_code == 200
    # RFC 7617: a user has no colon, so all of the rest is the password.
    assert required.get("/api/topics", **basic(f"a:b:{secret}")).json()["code"] == "invalid_api_key"
    assert required.get("/api/topics", **basic(f"{secret}:")).json()["code"] == "missing_authorization"


@pytest.mark.parametrize("text", ["%", "dTpw=!", "//79"])
def test_basic_credentials_that_cannot_be_read_are_none(required: Api, text: str) -> None:
    answer = required.get("/api/topics", Authorization=f"Basic {text}")

    assert (answer.status_code, answer.json()["code"]) == (401, "missing_authorization")


def test_basic_credentials_are_read_strictly(required: Api) -> None:
    given = basic(f"u:{make_key()}")["Authorization"]

    assert required.get("/api/topics", Authorization=given).status_code == 200
    assert required.get("/api/topics", Authorization=given[:12] + "!" + given[12:]).status_code == 401
