"""What every test stands on: a real database file, the Django client, and one live server for those that need it."""

import gc
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.commands import flush
from django.db import connection
from django.test import Client

from core.database.engines.sqlite3 import base
from devservers import ROOT
from devservers.takhin import LiveServer
from producer import authentication
from producer.api import admission
from topics import log

# The journal modes of SQLite that a test runs in. On PostgreSQL there is nothing to choose.
JOURNALS = ["WAL", "TRUNCATE"] if connection.vendor == "sqlite" else [""]
pytest_plugins = ["tests.kafka.fixtures"]


def pytest_sessionstart() -> None:
    """Give each session its own database file: mutmut runs several in forks of one process."""
    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = f"{settings.TAKHIN_DATA_DIR}/test-{os.getpid()}.sqlite3"
        base._seen.clear()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A clean database for each test, unless it needs none; committed for real, as the writer thread must see it.

    What is about one database itself is chosen where the tests run on that.
    """
    foreign = {"sqlite": "postgres", "postgresql": "sqlite"}[connection.vendor]
    deselected = [item for item in items if item.get_closest_marker(foreign)]
    config.hook.pytest_deselected(items=deselected)
    items[:] = [item for item in items if item not in deselected]
    for item in items:
        if "no_database" not in item.keywords:
            item.add_marker(pytest.mark.django_db(transaction=True))


@pytest.fixture(autouse=True, scope="session")
def nothing_slow() -> Iterator[None]:
    """What took most of the time, and shows nothing: to hash passwords as slowly as an attacker must, and to make
    content types, permissions and the list of static files anew for each test.
    """
    # The roles are part of the migrations.
    lasting = {model._meta.db_table for model in (ContentType, Permission, Group, Group.permissions.through)}

    def sql_flush(style: Any, connection: Any, **options: Any) -> list[str]:
        tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
        statements: list[str] = connection.ops.sql_flush(style, [t for t in tables if t not in lasting], **options)
        return statements

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "sql_flush", sql_flush)
        patch.setattr(flush, "emit_post_migrate_signal", lambda *_, **__: None)
        patch.setattr(settings, "WHITENOISE_AUTOREFRESH", True, raising=False)
        patch.setattr(settings, "PASSWORD_HASHERS", ["django.contrib.auth.hashers.MD5PasswordHasher"])
        yield


PREPARE = """
from pathlib import Path
from takhin_site.management.commands import serve
serve.prepare_database(Path("{folder}/admin-password"))
"""


@pytest.fixture(autouse=True, scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let live servers start with what the first start makes, which few tests are about: tables and a user."""
    made, template = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("template")
    variables = {**os.environ, "TAKHIN_DATA_DIR": str(made), "DATABASE_URL": ""}
    code = PREPARE.format(folder=made)
    subprocess.run([sys.executable, "manage.py", "shell", "-v0", "-c", code], cwd=ROOT, env=variables, check=True)
    for name in ("takhin.sqlite3", "admin-password"):
        shutil.copy(made / name, template)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LiveServer, "template", template)
        yield


@pytest.fixture
def nothing_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start servers as users do for the first time."""
    monkeypatch.setattr(LiveServer, "template", None)


@pytest.fixture(autouse=True)
def nothing_cached() -> Iterator[None]:
    yield
    log.forget()
    authentication.forget()
    admission.forget()
    _take_back_connections()


def _take_back_connections() -> None:
    """A thread that a test has started may have ended without returning its connection to PostgreSQL's pool."""
    if connection.vendor != "postgresql":
        return
    connection.close()
    stats = connection.pool.get_stats()  # type: ignore[attr-defined]
    if stats["pool_available"] < stats["pool_size"]:
        connection.close_pool()  # type: ignore[attr-defined]
        # What the thread left is garbage in cycles. As long as its session is open, the database cannot be dropped.
        gc.collect()


@pytest.fixture
def no_server_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kill the servers and workers that a failing test has not stopped."""
    launched: list[LiveServer] = []
    workers: list[subprocess.Popen[bytes]] = []
    launch, launch_worker = LiveServer.launch, LiveServer.launch_worker

    def launch_and_note(server: LiveServer, *arguments: str) -> None:
        launched.append(server)
        launch(server, *arguments)

    def launch_worker_and_note(server: LiveServer, **environment: str) -> "subprocess.Popen[bytes]":
        workers.append(launch_worker(server, **environment))
        return workers[-1]

    monkeypatch.setattr(LiveServer, "launch", launch_and_note)
    monkeypatch.setattr(LiveServer, "launch_worker", launch_worker_and_note)
    yield
    for server in launched:
        if server.is_running:
            server.kill()
    for worker in workers:
        if worker.poll() is None:
            worker.kill()
            worker.wait(10)


class Api:
    """The API as a client sees it, through Django's own test client."""

    def __init__(self) -> None:
        self.client = Client(raise_request_exception=False)

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(path, headers=headers)

    def post(self, path: str, body: Any, content_type: str = "application/json", **headers: str) -> Any:
        data = body if isinstance(body, (bytes, str)) else json.dumps(body)
        return self.client.post(path, data, content_type=content_type, headers=headers)

    def create_topic(self, name: str = "orders", partitions: int = 3, **members: Any) -> str:
        answer = self.post("/api/topics", {"name": name, "partitions": partitions, **members})
        assert answer.status_code == 201, answer.content
        return name

    def produce(self, topic: str, records: list[Any] | bytes | str, **parameters: str) -> Any:
        """`parameters` are the query's, with `_` for `.` and `async_` for `async`."""
        query = urlencode({name.rstrip("_").replace("_", "."): value for name, value in parameters.items()})
        body = records if isinstance(records, (bytes, str)) else {"records": records}
        return self.post(f"/api/topics/{topic}/produce?{query}", body)

    def messages(self, topic: str, **parameters: Any) -> Any:
        answer = self.get(f"/api/topics/{topic}/messages?{urlencode(parameters)}")
        assert answer.status_code == 200, answer.content
        return answer.json()


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def topic(api: Api) -> str:
    """A topic with three partitions."""
    return api.create_topic("orders", 3)


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One server for all tests that only add to it; it runs open and has the topic demo with three partitions."""
    server = LiveServer(tmp_path_factory.mktemp("live") / "data").start().create_topic("demo")
    yield server
    server.stop()
