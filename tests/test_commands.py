"""The command line does what the admin does, for people and for programs."""

import io
import json
import sqlite3
import stat
import subprocess
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.management import CommandError, call_command
from django.utils import timezone

from core.models import AuditEntry
from devservers import ROOT
from devservers.takhin import LiveServer
from producer.models import ApiKey, ProduceRequest, Status
from producer.queue.threads import new_worker
from tests.conftest import Api
from tests.test_configuration import manage
from topics.log import current_log

pytestmark = pytest.mark.usefixtures("no_server_left")


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue().strip()


def data(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


@pytest.fixture
def failed(api: Api, topic: str) -> list[str]:
    """Three failed async requests, two of them partly."""
    for records in ([{"value": 1, "partition": 9}], *[[{"value": 1}, {"key": "k", "value": 2, "partition": 9}]] * 2):
        api.produce(topic, records, async_="true")
    new_worker().work_once()
    return list(ProduceRequest.objects.order_by("id").values_list("pk", flat=True))


def test_topics_are_listed_described_and_deleted(api: Api) -> None:
    assert run("list_topics") == "There are no topics."
    assert data("create_topic", "orders", "--partitions", "2") == {"name": "orders", "created": True, "partitions": 2}
    assert data("create_topic", "orders", "--if-not-exists")["created"] is False
    api.produce("orders", [{"value": 1, "partition": 1}])

    (listed,) = data("list_topics")
    assert (listed["name"], listed["partitions"], listed["kept"]) == ("orders", 2, 1)
    assert run("list_topics").splitlines()[0].split() == [
        "name",
        "partitions",
        "kept",
        "retentionMs",
        "retentionBytes",
    ]
    described = data("describe_topic", "orders")
    assert [(one["id"], one["highWaterMark"]) for one in described["partitions"]] == [(0, 0), (1, 1)]
    assert "retention.ms: unlimited" in run("describe_topic", "orders")

    with pytest.raises(CommandError, match="add --yes"):
        run("delete_topic", "orders")
    assert data("delete_topic", "orders", "--yes") == {"name": "orders", "deleted": True}
    assert current_log().topic_names() == []
    assert AuditEntry.objects.filter(event="topic_deleted", name="orders").exists()
    for command in ("describe_topic", "delete_topic"):
        with pytest.raises(CommandError, match="no topic named"):
            run(command, "orders")


def test_keys_are_created_listed_and_revoked() -> None:
    made = data("create_api_key", "ci", "--scopes", "produce")
    assert made["secret"].startswith(made["prefix"])
    ApiKey.objects.create(name="old", prefix="tk_old", digest="x", expires_at=timezone.now() - timedelta(1))

    assert {key["name"]: key["state"] for key in data("list_api_keys")} == {"ci": "Usable", "old": "Expired"}
    assert made["secret"] not in run("list_api_keys")
    assert run("revoke_api_key", made["prefix"]).startswith("Revoked key ci")
    with pytest.raises(CommandError, match="no key"):
        run("revoke_api_key", made["prefix"])
    assert {key["state"] for key in data("list_api_keys")} == {"Revoked", "Expired"}
    entry = AuditEntry.objects.get(event="key_revoked")
    assert entry.name == made["prefix"]
    assert entry.actor.endswith("on the command line")


def test_a_name_that_two_keys_have_is_ambiguous() -> None:
    for number in range(2):
        ApiKey.objects.create(name="twin", prefix=f"tk_{number}", digest=str(number))

    with pytest.raises(CommandError, match="several keys are named 'twin'"):
        run("revoke_api_key", "twin")


def test_requests_are_listed_and_shown(api: Api, topic: str, failed: list[str]) -> None:
    assert [row["requestId"] for row in data("list_requests")] == failed[::-1]
    assert [row["requestId"] for row in data("list_requests", "--status", "partial")] == failed[:0:-1]
    assert data("list_requests", "--topic", "nowhere") == []
    assert len(data("list_requests", "--code", "unknown_partition", "--since", "1h", "--limit", "2")) == 2

    shown = data("show_request", failed[1])
    assert (shown["status"], shown["code"], shown["written"]) == ("partial", "unknown_partition", 1)
    assert [outcome.get("code") for outcome in shown["offsets"]] == [None, "unknown_partition"]
    text = run("show_request", failed[1])
    assert "record 1: partition 9 does not exist" in text
    assert "record 0: partition " in text
    with pytest.raises(CommandError, match="there is no request"):
        run("show_request", "req_nothing")


def test_requests_are_retried_and_cancelled(api: Api, topic: str, failed: list[str]) -> None:
    assert run("retry_requests", "--topic", topic, "--dry-run") == "3 requests would be changed."
    assert data("retry_requests", "--topic", topic, "--code", "unknown_partition")["changed"] == 3
    assert ProduceRequest.objects.filter(status=Status.PENDING).count() == 3
    assert data("cancel_requests", failed[0]) == {"total": 1, "changed": 1, "skipped": {}}
    assert ProduceRequest.objects.get(pk=failed[0]).status == Status.CANCELLED
    assert data("retry_requests", "--all")["total"] == 0
    # A cancelled request is retried only by its id.
    assert data("retry_requests", failed[0])["changed"] == 1
    assert "every record was written" not in run("cancel_requests", "--all")
    for arguments in ([], [failed[0], "--all"]):
        with pytest.raises(CommandError, match="give ids, or filters"):
            run("retry_requests", *arguments)


def test_failed_records_are_exported(api: Api, topic: str, failed: list[str], tmp_path: Path) -> None:
    file = tmp_path / "failed.ndjson"

    told = data("export_requests", str(file), "--topic", topic)

    assert told == {"requests": 3, "produce": f"/api/topics/{topic}/produce", "leftOut": 0}
    assert file.read_text().splitlines() == ['{"value":1,"partition":9}'] + ['{"key":"k","value":2,"partition":9}'] * 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(CommandError, match="File exists"):
        run("export_requests", str(file), "--all")
    with pytest.raises(CommandError, match="nothing to export"):
        run("export_requests", str(tmp_path / "none"), "--topic", "nowhere")


@pytest.mark.no_database
def test_exit_codes_tell_success_failure_and_misuse(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data")
    server.manage("migrate", "-v0")

    codes = {}
    for arguments in (["list_topics"], ["describe_topic", "nowhere"], ["describe_topic"], ["list_topics", "--wrong"]):
        done = subprocess.run(
            server.command(*arguments), cwd=ROOT, env=server.environment, capture_output=True, text=True, check=False
        )
        codes[" ".join(arguments)] = done.returncode
        assert "Traceback" not in done.stderr

    assert list(codes.values()) == [0, 1, 2, 2]


# Backups


def wait_for(written: list[int], count: int) -> None:
    deadline = time.monotonic() + 30
    while len(written) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.sqlite
@pytest.mark.no_database
@pytest.mark.parametrize("journal", ["WAL", "TRUNCATE"])
def test_a_backup_under_load_has_every_record_up_to_a_moment(tmp_path: Path, journal: str) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_SQLITE_JOURNAL=journal).start()
    server.create_topic("orders", 1)
    written: list[int] = []
    stopping = threading.Event()

    def write() -> None:
        with requests.Session() as http:
            while not stopping.is_set():
                answer = http.post(
                    f"{server.url}/api/topics/orders/produce",
                    json={"records": [{"value": "x" * 2000}] * 20},
                    headers={"Idempotency-Key": f"k{len(written)}"},
                    timeout=30,
                )
                if answer.status_code == 200:
                    written.append(answer.json()["offsets"][-1]["offset"])
                time.sleep(0.01)

    thread = threading.Thread(target=write)
    thread.start()
    wait_for(written, 20)
    before = written[-1]
    file = tmp_path / "backup.sqlite3"
    told = json.loads(server.manage("backup", str(file), "--json"))
    at_end = len(written)
    wait_for(written, at_end + 1)
    stopping.set()
    thread.join()
    server.stop()

    assert told["bytes"] == file.stat().st_size
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sqlite3.connect(file).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    restored = json.loads(server.manage("restore", str(file), "--json"))
    assert Path(restored["before"]).exists()
    server.start()
    found = server.read("orders", 0)
    assert [record["offset"] for record in found] == list(range(len(found)))
    assert before < len(found) <= written[-1] + 1
    assert len(found) % 20 == 0
    # And it goes on from there.
    assert server.produce("orders", [{"value": 1}]).json()["offsets"][0]["offset"] == len(found)
    assert "no problems" in server.manage("check_log")
    server.stop()


@pytest.mark.sqlite
@pytest.mark.no_database
def test_nothing_is_restored_over_a_running_server_or_from_something_else(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data").start()
    file = tmp_path / "backup.sqlite3"
    server.manage("backup", str(file))
    other = tmp_path / "other.sqlite3"
    sqlite3.connect(other).execute("CREATE TABLE t (a)")
    (tmp_path / "text").write_text("no database, but longer than a header of one hundred bytes" * 4)

    def refused(*arguments: str) -> str:
        done = subprocess.run(
            server.command(*arguments), cwd=ROOT, env=server.environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
        return done.stderr

    assert "a server or a worker uses the database" in refused("restore", str(file))
    assert "exists already" in refused("backup", str(file))
    assert "cannot back up" in refused("backup", str(tmp_path / "missing" / "file"))
    server.stop()
    assert "a database of something else" in refused("restore", str(other))
    assert "is not a database" in refused("restore", str(tmp_path / "text"))
    assert "is not a database" in refused("restore", str(tmp_path / "missing"))
    assert not list(server.folder.glob("*before-restore*"))


# Variables


@pytest.mark.no_database
def test_a_mistyped_variable_is_reported(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_WORKRES="2", TAKHIN_SECRET_KEY_FLIE="x", TAKHIN_URL="x")
    server.start()
    server.stop()

    said = server.log.read_text()
    assert "(takhin.W001) TAKHIN_WORKRES is not a variable of this version" in said
    assert "Did you mean TAKHIN_WORKERS?" in said
    assert "TAKHIN_SECRET_KEY_FLIE is not a variable" in said
    assert "TAKHIN_URL is" not in said


@pytest.mark.no_database
@pytest.mark.parametrize("command", [["create_api_key", "foo"], ["list_requests"]])
def test_a_database_without_tables_is_told_in_one_line(tmp_path: Path, command: list[str]) -> None:
    done = manage(tmp_path, *command, DATABASE_URL="")

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "the database has no tables: run takhin migrate, or check TAKHIN_DATA_DIR and DATABASE_URL" in line


@pytest.mark.no_database
def test_packages_that_libraries_would_use_are_not_imported_until_somebody_does(tmp_path: Path) -> None:
    packages = ["aiokafka.client", "django.contrib.postgres", "jinja2", "markdown", "requests", "rich"]
    code = f"import sys; print([name for name in {packages} if name in sys.modules]); import markdown, requests, rich"
    done = manage(tmp_path, "shell", "-v0", "-c", code)

    assert done.stdout == "[]\n", done.stderr
    assert done.returncode == 0, done.stderr
