"""A database that an older commit's server made is migrated when the server starts, and loses nothing.

tests/upgrade/make.py made the databases, and kept what the old server returned.
"""

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from django.db import connection

from devservers import ROOT
from devservers.takhin import LiveServer
from tests.upgrade.make import CENTURY, WRITTEN_LATER
from tests.upgrade.observation import Answers, observe

pytestmark = pytest.mark.no_database

REQUESTS = "/admin/producer/producerequest/"


@dataclass
class Upgraded:
    """A server on the old database, what the old one returned, and what this one did after the pending requests."""

    server: LiveServer
    keys: dict[str, str]
    requests: dict[str, str]
    all_requests: list[str]
    before: Answers
    after: Answers

    def call(self, method: str, path: str, body: Any = None, key: str = "all") -> requests.Response:
        headers = {"X-API-Key": self.keys[key]}
        return requests.request(method, f"{self.server.url}{path}", json=body, headers=headers, timeout=60)

    def values(self, topic: str) -> list[Any]:
        return [record["value"] for record in self.call("GET", f"/api/topics/{topic}/messages").json()]


def load(dump: str, server: LiveServer) -> None:
    if connection.vendor == "sqlite":
        with closing(sqlite3.connect(server.folder / "takhin.sqlite3")) as database:
            database.executescript(dump)
    else:
        with psycopg.connect(server.environment["DATABASE_URL"]) as database:
            database.execute(dump.encode())


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    variables = {"TAKHIN_HOUSEKEEPING_INTERVAL": "0", "TAKHIN_MAX_PENDING_AGE": "99999d"}
    server = LiveServer(tmp_path_factory.mktemp("upgraded"), TAKHIN_REQUIRE_API_KEY="true", **variables)
    made = ROOT / "tests" / "upgrade" / f"c851147.{connection.vendor}.sql"
    load(made.read_text(), server)
    kept = json.loads(made.with_suffix(".json").read_text())
    before = kept.pop("answers")
    server.start()
    upgraded = Upgraded(server, **kept, before=before, after={})
    for name in WRITTEN_LATER:
        upgraded.call("GET", f"/api/produce/status/{upgraded.requests[name]}?wait=30")
    upgraded.after = observe(server, upgraded.keys["all"], list(upgraded.requests.values()))
    yield upgraded
    server.stop()


@pytest.fixture(scope="module")
def admin(upgraded: Upgraded) -> requests.Session:
    """The old operator's browser, with the old password."""
    return logged_in(upgraded.server, "operator", "an-old-but-good-one")


def logged_in(server: LiveServer, user: str, password: str) -> requests.Session:
    browser = requests.Session()
    address = f"{server.url}/admin/login/"
    browser.get(address, timeout=30)
    form = {"username": user, "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
    answer = browser.post(address, form, headers={"Referer": address}, allow_redirects=False, timeout=30)
    assert answer.status_code == 302, answer.text
    return browser


def kept(before: Any, after: Any) -> Any:
    """`after` without the fields that are new."""
    if isinstance(before, dict) and isinstance(after, dict):
        return {name: kept(value, after[name]) for name, value in before.items() if name in after}
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [kept(*pair) for pair in zip(before, after, strict=True)]
    return after


def test_it_works(upgraded: Upgraded) -> None:
    assert upgraded.call("GET", "/api/health").json()["status"] == "ok"
    assert len(upgraded.before) > 150


@pytest.mark.parametrize("part", ["/api/topics", "/registry", "/api/produce/status"])
def test_every_answer_is_the_old_servers(upgraded: Upgraded, part: str) -> None:
    """Every record at its offset, every topic's settings, every request's results, every schema and setting; the
    pending requests are written as the old server would have written them.
    """
    before, after = (
        {path: answer for path, answer in answers.items() if path.startswith(part)}
        for answers in (upgraded.before, upgraded.after)
    )

    assert after.keys() == before.keys()
    for path, (status, body) in before.items():
        new_status, new_body = after[path]
        if status >= 400:
            # Texts may be reworded.
            body = {name: body[name] for name in ("code", "error_code") if name in body}
        assert [new_status, kept(body, new_body)] == [status, body], path


def test_what_was_pending_is_written_exactly_as_sent(upgraded: Upgraded) -> None:
    assert upgraded.values("queued-json") == ['{"b": 1.10,  "a": 1e400}']
    assert upgraded.values("queued-ndjson") == ["1.10", None, "[1,  2]"]
    assert upgraded.values("queued-ndjson-string") == ["a"]
    assert len(upgraded.values("queued-ndjson-long")) == 50
    assert upgraded.values("queued-tried") == ['"tried"']
    assert upgraded.values("queued-claimed") == ['"claimed"']
    # Another log's session may have written it: it stays in its slot.
    assert upgraded.values("queued-slotted") == []


def test_the_next_record_takes_the_next_offset(upgraded: Upgraded) -> None:
    upgraded.call("POST", "/api/topics/trimmed/produce", {"records": [{"value": 1}]})
    (_, was) = upgraded.before["/api/topics/trimmed"]

    (partition,) = upgraded.call("GET", "/api/topics/trimmed").json()["partitions"]

    assert partition["highWaterMark"] == was["partitions"][0]["highWaterMark"] + 1


def test_topics_register_schemas_as_before(upgraded: Upgraded) -> None:
    body = {"valueSchema": "int", "records": [{"value": 1}]}
    open_to_all, closed = (
        upgraded.call("POST", f"/api/topics/{topic}/produce?value.format=avro", body) for topic in ("codecs", "shapes")
    )

    assert open_to_all.status_code == 200, open_to_all.text
    assert (closed.status_code, closed.json()["code"]) == (403, "registration_forbidden")


def test_keys_may_do_what_they_could(upgraded: Upgraded) -> None:
    record = {"records": [{"value": "by narrow"}]}
    own = f"/api/produce/status/{upgraded.requests['narrow']}"

    for name in ("expired", "revoked"):
        refused = upgraded.call("GET", "/api/topics", key=name)
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_api_key")
    assert upgraded.call("GET", "/api/topics", key="narrow").json()["code"] == "missing_scope"
    assert upgraded.call("POST", "/api/topics/codecs/produce", record, "narrow").json()["code"] == "topic_not_allowed"
    assert upgraded.call("POST", "/api/topics/queued-tried/produce?async=true", record, "narrow").status_code == 202
    assert upgraded.call("GET", own, key="narrow").json()["status"] == "completed"
    assert upgraded.call("GET", own, key="all").json()["code"] == "request_not_found"


def test_schemas_are_judged_and_locked_as_before(upgraded: Upgraded) -> None:
    def register(subject: str, schema: str) -> requests.Response:
        return upgraded.call("POST", f"/registry/subjects/{subject}/versions", {"schema": schema})

    assert register("customers-value", '"string"').json()["error_code"] == 42205
    assert register("prices-value", '"string"').status_code == 409
    # NONE allows it, and the versions deleted permanently and softly keep their numbers.
    assert register("colours", '"string"').status_code == 200
    assert upgraded.call("GET", "/registry/subjects/colours/versions?deleted=true").json() == [1, 3, 4]


def test_a_deleted_topic_stays_deleted_and_is_emptied(upgraded: Upgraded) -> None:
    gone = {"name": "gone", "partitions": 2}
    assert upgraded.call("GET", "/api/topics/gone").status_code == 404
    assert upgraded.call("POST", "/api/topics", gone).status_code == 201
    upgraded.call("POST", "/api/topics/gone/produce", {"records": [{"value": "new", "partition": 0}]})

    upgraded.server.manage("purge_produce_requests", "--older-than", CENTURY)

    assert upgraded.values("gone") == ['"new"']
    upgraded.server.manage("check_log")


def test_every_page_of_the_admin_opens(upgraded: Upgraded, admin: requests.Session) -> None:
    """Follow every link without a query, from the index on, but to one history of each kind: Django's own pages."""
    seen: dict[str, str] = {}
    histories: set[str] = set()
    waiting = {"/admin/", "/admin/producer/producerequest/?all="}
    while waiting:
        path = waiting.pop()
        if path.endswith("/history/"):
            kind = path.rsplit("/", 3)[0]
            if kind in histories:
                continue
            histories.add(kind)
        answer = admin.get(f"{upgraded.server.url}{path}", timeout=60)
        assert answer.status_code == 200, path
        seen[path] = unescape(answer.text)
        links = set(re.findall(r'href="(/admin/[\w/]*/)"', answer.text))
        waiting |= {link for link in links - seen.keys() if not re.search("logout|password|/add/", link)}

    for request in upgraded.all_requests:
        assert request in seen[f"{REQUESTS}{request.replace('_', '_5F')}/change/"]
    for change in range(1, 19):
        assert f"/admin/registry/change/{change}/change/" in seen
    history = seen["/admin/registry/change/"]
    for text in ("Deleted permanently", "FORWARD_TRANSITIVE", "READONLY", "forgotten", upgraded.keys["all"][:11]):
        assert text in history, text


def test_pages_show_what_requests_sent_and_got(upgraded: Upgraded, admin: requests.Session) -> None:
    shown = {
        "ndjson": ["application/x-ndjson", '{"key":"b","value":null}'],
        "cancelled": ["cancelled", '{"key":"b","value":null}'],
        "slotted": ["Pending", "slotted"],
        "exhausted": ["gave up", "gzip"],
        "doubtful": ["outcome_unknown"],
        "partly": ["serialization_failed", "Partly written"],
        "strict": ["not_attempted"],
        "avro": ["queued-avro", "snappy"],
    }
    for name, texts in shown.items():
        path = f"{REQUESTS}{upgraded.requests[name].replace('_', '_5F')}/change/"
        page = unescape(admin.get(f"{upgraded.server.url}{path}", timeout=60).text)
        assert not [text for text in texts if text not in page], name


def test_failed_requests_are_retried_from_their_old_bodies(upgraded: Upgraded, admin: requests.Session) -> None:
    ids = [upgraded.requests[name] for name in ("cancelled", "exhausted", "doubtful")]
    # One of them was cancelled, so that has to be wanted.
    form = {
        "action": "retry_failed",
        "_selected_action": ids,
        "confirmed": "1",
        "cancelled": "on",
        "csrfmiddlewaretoken": admin.cookies["csrftoken"],
    }
    address = f"{upgraded.server.url}{REQUESTS}"
    answer = admin.post(address, form, headers={"Referer": address}, timeout=60)
    assert answer.status_code == 200

    assert "/bulkchange/" in answer.url, answer.text
    deadline = time.monotonic() + 30
    while ": done." not in (page := admin.get(answer.url, timeout=60).text):
        assert time.monotonic() < deadline, page
        time.sleep(0.1)
    statuses = [upgraded.call("GET", f"/api/produce/status/{pk}?wait=30").json()["status"] for pk in ids]

    assert statuses == ["completed", "completed", "failed"]
    assert upgraded.values("queued-cancelled") == ["1.10", None, "[1,  2]"]
    assert upgraded.values("queued-exhausted") == ['{"exhausted": true}']
    assert upgraded.values("queued-doubtful") == []


def test_a_clerk_may_see_what_they_could(upgraded: Upgraded) -> None:
    browser = logged_in(upgraded.server, "clerk", "another-that-lasts")

    statuses = [
        browser.get(f"{upgraded.server.url}{path}", timeout=30).status_code
        for path in (REQUESTS, "/admin/producer/apikey/", "/admin/auth/user/")
    ]

    assert statuses == [200, 403, 403]


def test_no_migration_is_missing(tmp_path: Path) -> None:
    LiveServer(tmp_path).manage("makemigrations", "--check", "--dry-run")
