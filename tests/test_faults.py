"""What breaks under SQLite is told in words and with 503, by the answers and by the probes, and is over when it is."""

import os
import resource
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from devservers.takhin import LiveServer
from tests.test_configuration import refusal

pytestmark = [pytest.mark.no_database, pytest.mark.sqlite]

PAGE_BYTES = 4096
# Too large for pages that are free, and not to be compressed.
LARGE = [{"value": os.urandom(50_000).hex()}]


@pytest.fixture(params=["WAL", "TRUNCATE"])
def journal(request: pytest.FixtureRequest) -> str:
    """The journal mode of the server."""
    return str(request.param)


# Where the journal makes no difference.
in_one_journal = pytest.mark.parametrize("journal", ["WAL"], indirect=True)


@pytest.fixture
def server(tmp_path: Path, journal: str) -> Iterator[LiveServer]:
    variables = {"TAKHIN_PRODUCE_TIMEOUT": "1s", "TAKHIN_WORKERS": "1", "TAKHIN_SQLITE_JOURNAL": journal}
    made = LiveServer(tmp_path / "data", **variables).start()
    made.create_topic("orders")
    assert made.produce("orders", [{"value": 1}]).status_code == 200
    yield made
    made.kill()


def file_of(server: LiveServer) -> Path:
    return server.folder / "takhin.sqlite3"


def get(server: LiveServer, path: str) -> requests.Response:
    return requests.get(server.url + path, timeout=30)


def ready(server: LiveServer) -> tuple[int, str]:
    """The probe's status, and the reasons of all that fails."""
    answer = get(server, "/api/health/ready")
    return answer.status_code, "; ".join(answer.json().get("reasons", {}).values())


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def wait_for(server: LiveServer, status: int) -> str:
    """Wait until the probe answers so; the reasons."""
    wait_until(lambda: ready(server)[0] == status)
    return ready(server)[1]


def refused(answer: requests.Response) -> str:
    """The code of an answer that says 503."""
    assert answer.status_code == 503, answer.text
    assert answer.headers["Retry-After"] == "1"
    members = answer.json()
    return str(members["offsets"][0]["code"] if "offsets" in members else members["code"])


def assert_no_traceback(server: LiveServer) -> None:
    unexpected = [line for line in server.log.read_text().splitlines() if '"level":"error"' in line]
    assert not unexpected


# A disk that is full


@contextmanager
def no_larger_files(server: LiveServer, size: int) -> Iterator[None]:
    for pid in server.process_ids():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    yield
    for pid in server.process_ids():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def test_it_works(server: LiveServer, journal: str) -> None:
    """Every write was refused while the probes said that all was well."""
    # A WAL may start over, and then has room for what is smaller than itself.
    with no_larger_files(server, 50_000 if journal == "WAL" else file_of(server).stat().st_size):
        assert refused(server.produce("orders", LARGE)) == "storage_full"
        assert refused(server.produce("orders", LARGE, **{"async": "true"})) == "storage_full"
        reason = wait_for(server, 503)
        health = get(server, "/api/health")
        # It stays so, though the probes try to write.
        time.sleep(1.5)
        assert ready(server)[0] == 503
        assert get(server, "/api/topics/orders/messages").status_code == 200

    assert reason.startswith("the disk of the embedded log is full or failing (")
    assert health.status_code == 503
    assert health.json()["checks"] == {
        "database": False,
        "disk": True,
        "log": False,
        "migrations": True,
        "workers": True,
        "backlog": True,
    }
    assert health.json()["reasons"]["log"].startswith("the disk of the embedded log is full")
    # Nobody writes meanwhile.
    wait_for(server, 200)
    assert server.produce("orders", LARGE).status_code == 200


@in_one_journal
def test_a_log_line_that_cannot_be_written_fails_no_request(server: LiveServer) -> None:
    """The log of the server often goes to the same disk."""
    with no_larger_files(server, 1):
        assert get(server, "/api/health/live").status_code == 200
        assert get(server, "/api/topics/orders/messages").status_code == 200
        assert refused(server.produce("orders", [{"value": 1}])) == "storage_full"
        assert ready(server)[0] == 503


# A database that is read-only


def may_not_override(command: list[str]) -> list[str]:
    """Root may write to any file unless it gives that up."""
    return ["setpriv", "--bounding-set=-dac_override", *command] if os.geteuid() == 0 else command


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a server leaves in its folder."""
    server = LiveServer(tmp_path_factory.mktemp("left") / "data").start()
    server.stop()
    return server.folder


@pytest.mark.parametrize("command", ["serve", "run_produce_worker"])
@pytest.mark.parametrize("part", ["", "takhin.sqlite3"])
def test_a_read_only_database_is_refused_at_start(tmp_path: Path, left: Path, command: str, part: str) -> None:
    server = LiveServer(shutil.copytree(left, tmp_path / "data"))
    path = server.folder / part
    mode = path.stat().st_mode
    for one in [path, *(path.glob("*") if path.is_dir() else ())]:
        one.chmod(one.stat().st_mode & ~0o222)
    try:
        done = subprocess.run(
            may_not_override(server.command(command)),
            cwd=server.root,
            env=server.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        path.chmod(mode)

    line = refusal(done)
    assert line.startswith("CommandError: The log cannot be written: ")


# A database that is gone, or empty where one with records was


def test_an_empty_file_in_place_of_a_log_is_warned_of(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data").start()
    server.create_topic("orders")
    server.stop()
    server.start()
    server.stop()
    assert "was not before" not in server.log.read_text()

    file_of(server).write_bytes(b"")
    server.start()
    server.stop()

    (line,) = [line for line in server.log.read_text().splitlines() if "the database is empty, and was not" in line]
    assert '"level":"warning"' in line
    assert str(file_of(server)) in line


@pytest.mark.parametrize(("journal", "what"), [("WAL", "folder"), ("TRUNCATE", "file")], indirect=["journal"])
def test_a_database_that_is_gone_is_told_by_every_thread(server: LiveServer, what: str) -> None:
    """Threads that had the file open went on serving it, others failed, and the writer answered 500."""
    paths = ("/api/topics/orders/messages", "/api/topics", "/api/topics/orders")
    for path in paths * 20:
        assert get(server, path).status_code == 200
    if what == "folder":
        shutil.rmtree(server.folder)
    else:
        file_of(server).unlink()
    time.sleep(0.5)

    for path in paths * 20:
        assert refused(get(server, path)) == "log_unavailable"
    for _ in range(5):
        assert refused(server.produce("orders", [{"value": 1}])) == "log_unavailable"
    registry = get(server, "/registry/subjects")
    assert (registry.status_code, registry.json()["error_code"]) == (503, 50001)
    assert "(the file no longer exists)" in ready(server)[1]
    assert get(server, "/api/health/live").status_code == 200
    assert not file_of(server).exists()


@in_one_journal
def test_a_lock_file_that_cannot_be_opened_is_503(server: LiveServer) -> None:
    lock = server.folder / "takhin.sqlite3.lock"
    lock.unlink()
    lock.mkdir()

    answer = server.produce("orders", [{"value": 1}])

    assert refused(answer) == "log_unavailable"
    assert "the lock file of the database cannot be opened (Is a directory)" in answer.json()["offsets"][0]["error"]
    assert "the lock file" in wait_for(server, 503)
    lock.rmdir()
    assert server.produce("orders", [{"value": 1}]).status_code == 200
    assert ready(server)[0] == 200


@in_one_journal
def test_no_file_descriptor_left_is_503(server: LiveServer) -> None:
    """On a connection that is open already: no other would be accepted."""
    (_, pid) = server.process_ids()
    used = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    lowest_free = min(set(range(len(used) + 1)) - used)
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        answer = server.produce("orders", [{"value": 1}])
        health = server.http.get(f"{server.url}/api/health/ready", timeout=30)
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)

    assert refused(answer) == "log_unavailable"
    assert "(Too many open files)" in answer.json()["offsets"][0]["error"]
    assert health.status_code == 503
    assert server.produce("orders", [{"value": 1}]).status_code == 200


# A database that is damaged


def destroy(server: LiveServer, table: str) -> None:
    """Overwrite the table's first page on the disk, and have nobody trust what was read before."""
    with closing(sqlite3.connect(file_of(server))) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        find = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        (page,) = database.execute(find, [table]).fetchone()
        with file_of(server).open("r+b") as file:
            file.seek((page - 1) * PAGE_BYTES)
            file.write(b"\xff" * PAGE_BYTES)
        database.execute("PRAGMA user_version = 1")


def test_a_damaged_table_of_the_log_is_told(server: LiveServer) -> None:
    destroy(server, "topics_recordbatch")

    status, reason = ready(server)
    assert (status, reason) == (503, "the database file is damaged (database disk image is malformed)")
    assert refused(server.produce("orders", [{"value": 1}])) == "storage_damaged"
    assert refused(get(server, "/api/topics/orders/messages")) == "storage_damaged"
    assert ready(server)[0] == 503
    assert_no_traceback(server)


def test_a_commit_that_met_damage_is_remembered(server: LiveServer) -> None:
    """The probe reads and writes other pages than the one that is damaged."""
    destroy(server, "producer_producerequest")

    assert refused(server.produce("orders", [{"value": 1}], **{"async": "true"})) == "storage_damaged"
    assert ready(server)[0] == 503


@in_one_journal
def test_a_damaged_table_of_the_registry_is_told(server: LiveServer) -> None:
    destroy(server, "registry_schema")

    for answer in (
        get(server, "/registry/schemas/ids/1"),
        requests.post(f"{server.url}/registry/subjects/a/versions", json={"schema": '"string"'}, timeout=30),
    ):
        assert (answer.status_code, answer.json()["error_code"]) == (503, 50001)
        assert "malformed" in answer.json()["message"]
        assert answer.headers["Retry-After"] == "1"
    assert_no_traceback(server)


@in_one_journal
def test_a_damaged_table_of_the_admin_is_told(server: LiveServer) -> None:
    destroy(server, "auth_user")
    browser = requests.Session()
    browser.get(f"{server.url}/admin/login/", timeout=30)

    form = {"username": "admin", "password": "x", "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
    answer = browser.post(f"{server.url}/admin/login/", form, timeout=30)

    assert answer.status_code == 503
    assert "The database file is damaged" in answer.text
    assert answer.headers["Retry-After"] == "1"


# A database that another process keeps locked


@contextmanager
def locked(server: LiveServer) -> Iterator[None]:
    with closing(sqlite3.connect(file_of(server), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def test_a_long_lock_is_refused_at_once_and_its_end_is_noticed(server: LiveServer, journal: str) -> None:
    """Each request held a thread for ten seconds, and so did each probe."""
    writers: list[Callable[[], Any]] = [
        lambda: server.produce("orders", [{"value": 1}]),
        lambda: server.produce("orders", [{"value": 1}], **{"async": "true"}),
    ]
    readers: list[Callable[[], Any]] = [
        lambda: get(server, "/api/topics/orders/messages"),
        lambda: get(server, "/api/topics"),
        lambda: get(server, "/registry/subjects"),
        lambda: get(server, "/api/produce/status/req_1"),
    ]
    # With a WAL, nobody who reads waits for a lock.
    ways = writers if journal == "WAL" else writers + readers
    with locked(server):
        # The first ones wait, for a lock may be short: here TAKHIN_PRODUCE_TIMEOUT is a second.
        for way in ways:
            assert way().status_code == 503
        time.sleep(1)
        started = time.monotonic()
        for way in ways * 10:
            answer = way()
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        # Sixty that wait for a second each would take a minute.
        assert time.monotonic() - started < 10
        status, reason = ready(server)
        assert status == 503
        assert "another process " in reason
        assert get(server, "/api/health/live").status_code == 200
        if journal == "WAL":
            assert [way().status_code for way in readers] == [200, 200, 200, 404]
    wait_for(server, 200)

    for way in (writers + readers)[:-1]:
        assert way().status_code in (200, 202)
    assert_no_traceback(server)


def test_a_short_lock_is_waited_for(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data").start()
    server.create_topic("orders")
    try:
        with closing(sqlite3.connect(file_of(server), isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN EXCLUSIVE")
            end = threading.Timer(2, other.execute, ["ROLLBACK"])
            end.start()
            assert server.produce("orders", [{"value": 1}]).status_code == 200
            end.join()
    finally:
        server.kill()


@pytest.mark.parametrize("journal", ["WAL"], indirect=True)
def test_a_reader_does_not_hold_up_a_wal_which_stays_bounded(server: LiveServer) -> None:
    wal = Path(f"{file_of(server)}-wal")
    with closing(sqlite3.connect(file_of(server), isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM topics_topic").fetchone()
        for _ in range(40):
            assert server.produce("orders", [{"value": os.urandom(400_000).hex()} for _ in range(3)]).status_code == 200
        # Nothing can be removed from it while somebody reads what was before.
        assert wal.stat().st_size > 90_000_000
        other.execute("ROLLBACK")

    def is_small() -> bool:
        assert server.produce("orders", [{"value": 1}]).status_code == 200
        return wal.stat().st_size < 70_000_000

    wait_until(is_small)


@pytest.mark.parametrize("journal", ["TRUNCATE"], indirect=True)
def test_a_reader_that_holds_up_the_commit_is_contained(server: LiveServer) -> None:
    """A transaction that only reads lets a write begin, and not end."""
    with closing(sqlite3.connect(file_of(server), isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM topics_topic").fetchone()
        for _ in range(2):
            assert refused(server.produce("orders", [{"value": "not written"}])) == "log_unavailable"
        wait_until(lambda: get(server, "/api/topics/orders/messages").status_code == 200)
        other.execute("ROLLBACK")
    wait_until(lambda: server.produce("orders", [{"value": "written"}]).status_code == 200)

    values = [record["value"] for number in range(3) for record in server.read("orders", number)]
    assert '"not written"' not in values
    assert sorted(values) == ['"written"', "1"]
