"""Probes learn the truth: whether the process lives, and whether it can serve."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection

from core.database.checks import describe
from devservers import ROOT
from devservers.takhin import LiveServer, database_of
from producer.queue import checkup, threads
from producer.queue.threads import new_worker
from tests.conftest import Api


def test_it_works(api: Api) -> None:
    assert api.get("/api/health/live").json() == {"alive": True}
    assert api.get("/api/health/ready").json() == {"ready": True, "database": describe()}
    assert api.get("/api/health").json() == {
        "status": "ok",
        "version": django_settings.VERSION,
        "checks": {"database": True, "disk": True, "log": True, "migrations": True, "workers": True, "backlog": True},
    }


@pytest.mark.parametrize("path", ["/api/health/", "/api/health/live/", "/api/health/ready/"])
def test_a_trailing_slash_makes_no_difference(api: Api, path: str) -> None:
    assert api.get(path).status_code == 200


def test_a_broken_log_is_not_ready(api: Api) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE topics_topic RENAME TO topics_gone")
    try:
        ready, health, live = (api.get(f"/api/health{part}") for part in ("/ready", "", "/live"))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE topics_gone RENAME TO topics_topic")

    assert ready.status_code == 503
    assert ready.json().keys() == {"ready", "failing", "reasons"}
    assert ready.json()["failing"] == ["log"]
    assert ready.json()["reasons"]["log"].startswith("the database has no tables: run takhin migrate")
    assert health.json()["reasons"] == ready.json()["reasons"]
    assert ready["Retry-After"] == "1"
    assert health.status_code == 503
    assert health.json()["status"] == "failing"
    assert health.json()["checks"] == {
        "database": True,
        "disk": True,
        "log": False,
        "migrations": True,
        "workers": True,
        "backlog": True,
    }
    assert (live.status_code, live.json()) == (200, {"alive": True})
    assert api.get("/api/health/ready").status_code == 200


def test_a_missing_migration_is_not_ready(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "_migrated", False)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept AS SELECT * FROM django_migrations WHERE app = 'producer'")
        cursor.execute("DELETE FROM django_migrations WHERE app = 'producer'")
    try:
        answer = api.get("/api/health/ready")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO django_migrations SELECT * FROM kept")
            cursor.execute("DROP TABLE kept")

    assert answer.status_code == 503
    reason = "the database lacks this version's migrations: run takhin migrate"
    assert answer.json() == {"ready": False, "failing": ["migrations"], "reasons": {"migrations": reason}}
    assert api.get("/api/health/ready").status_code == 200


ASK_WITHOUT_MIGRATING = """
import django
django.setup()
from django.test import Client
for path in ("/api/health/live", "/api/health/ready", "/api/health", "/api/topics"):
    answer = Client(headers={"host": "localhost"}).get(path)
    print(answer.status_code, answer.content.decode())
"""


@pytest.mark.no_database
def test_a_fresh_data_folder_is_alive_but_not_ready(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK_WITHOUT_MIGRATING],
        cwd=ROOT,
        env={
            **os.environ,
            "TAKHIN_DATA_DIR": str(tmp_path),
            "DATABASE_URL": database_of(tmp_path),
            "DJANGO_SETTINGS_MODULE": "takhin_site.settings",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    live, ready, health, topics = done.stdout.splitlines()
    assert live == '200 {"alive":true}'
    assert ready.startswith('503 {"ready":false,"failing":["database","log","migrations"],"reasons":{')
    assert health.startswith('503 {"status":"failing"')
    assert topics.startswith("503 ")


def test_a_worker_that_is_stuck_is_not_ready(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = new_worker()
    monkeypatch.setattr(threads, "_workers", [new_worker(), stuck])
    assert api.get("/api/health/ready").status_code == 200

    stuck._seen -= 1000

    assert api.get("/api/health/ready").json()["failing"] == ["workers"]


def test_the_root_names_product_version_and_links(api: Api) -> None:
    answer = api.get("/")

    assert answer["Content-Type"] == "application/json"
    found = answer.json()
    assert found["product"] == "Takhin HTTP Producer"
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["version"])
    for link in found["links"].values():
        assert api.get(link).status_code in (200, 302), link


@pytest.mark.no_database
def test_a_real_server_is_ready(live: LiveServer) -> None:
    for path in ("/api/health", "/api/health/live", "/api/health/ready"):
        answer = live.http.get(live.url + path, timeout=10)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/json"


def test_a_check_that_fails_after_its_caller_has_left_is_told_to_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A check that took between 0.8 and 2 seconds to fail was never reported."""
    left, ended = threading.Event(), threading.Event()

    def fail_late() -> str:
        left.wait(10)
        return "it failed late"

    monkeypatch.setattr(checkup, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(checkup, "PATIENCE_SECONDS", 30.0)
    monkeypatch.setattr(checkup.connections, "close_all", ended.set)
    checks = checkup.Checkup()
    with monkeypatch.context() as patch:
        patch.setattr(checkup, "CHECKS", {"database": lambda: None})
        assert checks.reasons() == {"database": ""}
    assert ended.wait(10)
    ended.clear()
    monkeypatch.setattr(checkup, "CHECKS", {"database": fail_late})

    assert checks.reasons() == {"database": ""}
    left.set()
    assert ended.wait(10)
    left.clear()

    assert checks.reasons() == {"database": "it failed late"}
    left.set()
