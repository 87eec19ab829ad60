"""`manage.py serve`, as `make run` starts it."""

import json
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from devservers.takhin import LiveServer

pytestmark = [pytest.mark.no_database, pytest.mark.usefixtures("no_server_left")]


@pytest.fixture
def server(tmp_path: Path) -> LiveServer:
    return LiveServer(tmp_path / "data")


def greeting(server: LiveServer) -> str:
    """What the demo prints once it has produced."""
    assert server.saw("Ctrl-C stops the server."), server.log.read_text()
    return server.log.read_text()


@pytest.mark.usefixtures("nothing_prepared")
def test_it_works(server: LiveServer) -> None:
    server.start("--demo")
    shown = greeting(server)

    places = re.findall(r"^  (user-\d) -> partition (\d), offset (\d)$", shown, re.MULTILINE)
    assert [user for user, _, _ in places] == ["user-1", "user-2", "user-1"]
    for user, partition, offset in places:
        assert json.loads(server.read("demo", int(partition))[int(offset)]["key"]) == user
    assert f"{server.url}/swagger/" in shown
    password = re.search(r"user admin, password (\S+)", shown)
    assert password is not None
    assert password[1] == (server.folder / "admin-password").read_text().strip()
    assert "OPEN: no API key is required" in shown
    (curl,) = re.findall(r"^  (curl .*)$", shown, re.MULTILINE)
    answer = subprocess.run(curl, shell=True, capture_output=True, text=True, check=True).stdout
    assert set(json.loads(answer)["offsets"][0]) == {"partition", "offset", "timestamp"}
    assert server.stop() == 0


@pytest.mark.usefixtures("nothing_prepared")
def test_the_password_opens_the_admin(server: LiveServer) -> None:
    server.start()
    http = requests.Session()
    page = http.get(f"{server.url}/admin", timeout=10)
    assert page.url == f"{server.url}/admin/login/?next=/admin/"
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert token is not None
    form = {
        "username": "admin",
        "password": (server.folder / "admin-password").read_text().strip(),
        "csrfmiddlewaretoken": token[1],
        "next": "/admin/",
    }

    answer = http.post(f"{server.url}/admin/login/", form, timeout=10)
    server.stop()

    assert answer.status_code == 200
    assert answer.url == f"{server.url}/admin/"


def test_a_second_start_keeps_the_data(server: LiveServer) -> None:
    server.start().create_topic("demo")
    assert server.produce("demo", [{"value": 1}, {"value": 2}]).status_code == 200
    before = [server.read("demo", partition) for partition in range(3)]
    password = (server.folder / "admin-password").read_text()
    server.stop()
    server.start()

    assert [server.read("demo", partition) for partition in range(3)] == before
    assert (server.folder / "admin-password").read_text() == password
    server.stop()


def test_a_second_start_shows_what_the_demo_holds_and_adds_nothing(server: LiveServer) -> None:
    server.start("--demo")
    greeting(server)
    server.stop()
    server.log.unlink()
    server.start("--demo")
    shown = greeting(server)

    held = {partition: len(server.read("demo", partition)) for partition in range(3)}
    server.stop()
    assert sum(held.values()) == 3
    assert re.findall(r"^  partition (\d), offsets (\d) to (\d)$", shown, re.MULTILINE) == [
        (str(partition), "0", str(count - 1)) for partition, count in held.items() if count
    ]
    assert "The topic demo has records:" in shown
    assert f"{server.url}/swagger/" in shown


def test_a_password_that_was_changed_is_not_shown(server: LiveServer) -> None:
    server.start("--demo")
    password = (server.folder / "admin-password").read_text().strip()
    assert f"user admin, password {password}" in greeting(server)
    code = (
        "from django.contrib.auth.models import User; u = User.objects.get(); u.set_password('another one'); u.save()"
    )
    server.manage("shell", "-c", code)
    server.stop()
    server.log.unlink()
    server.start("--demo")

    shown = greeting(server)
    server.stop()
    assert password not in shown
    assert "user admin, whose password was changed" in shown


def test_the_demo_works_where_keys_are_required(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_REQUIRE_API_KEY="true").start("--demo")
    shown = greeting(server)
    unauthorized = requests.get(f"{server.url}/api/topics", timeout=10).status_code
    server.stop()

    assert "user-2 -> partition" in shown
    assert "OPEN" not in shown
    assert unauthorized == 401


@pytest.mark.usefixtures("nothing_prepared")
def test_servers_that_start_together_migrate_once(tmp_path: Path) -> None:
    servers = [LiveServer(tmp_path / "data") for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        started = list(pool.map(lambda server: server.start(), servers))
    started[0].create_topic("shared", 1)
    answers = [server.produce("shared", [{"value": 1}]).status_code for server in started]
    for server in servers:
        server.stop()

    assert answers == [200, 200, 200]


def test_a_port_in_use_ends_the_start_in_one_line(server: LiveServer) -> None:
    """Two servers on one port would answer in turn, each from its own data."""
    server.start()
    ended = subprocess.run(
        server.command(), cwd=server.root, env=server.environment, capture_output=True, text=True, check=False
    )
    server.stop()

    assert ended.returncode == 1
    assert ended.stderr.strip() == (
        f"CommandError: cannot listen on 127.0.0.1:{server.port} (TAKHIN_HOST, TAKHIN_PORT): Address already in use"
    )


def test_the_log_is_one_json_line_for_each_request(server: LiveServer) -> None:
    server.start().create_topic("demo")
    server.http.post(
        f"{server.url}/api/topics/demo/produce",
        json={"records": [{"value": "s3cret-payload"}]},
        headers={"X-Request-Id": "my-request", "Authorization": "Bearer s3cret-key"},
        timeout=10,
    )
    server.stop()

    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    (mine,) = [line for line in lines if line.get("httpRequestId") == "my-request"]
    assert mine["event"] == "request"
    assert (mine["method"], mine["path"], mine["status"]) == ("POST", "/api/topics/demo/produce", 200)
    assert "s3cret" not in server.log.read_text()


def test_a_worker_in_a_process_of_its_own_runs_what_the_server_accepts(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_WORKERS="0").start().create_topic("demo")
    request_id = server.produce("demo", [{"value": 1}], **{"async": "true"}).json()["requestId"]
    path = f"{server.url}/api/produce/status/{request_id}"
    assert requests.get(f"{path}?wait=1", timeout=10).json()["status"] == "pending"

    worker = subprocess.Popen(server.command("run_produce_worker"), cwd=server.root, env=server.environment)
    answer = requests.get(f"{path}?wait=20", timeout=30).json()
    worker.terminate()

    assert answer["status"] == "completed"
    assert worker.wait(10) == 0
    server.stop()


def test_a_worker_that_was_paused_goes_on(tmp_path: Path) -> None:
    """As when a machine sleeps, or its hypervisor stops it for a while."""
    server = LiveServer(tmp_path / "data", TAKHIN_WORKERS="0").start().create_topic("demo")
    worker = subprocess.Popen(server.command("run_produce_worker"), cwd=server.root, env=server.environment)

    for _ in range(3):
        request_id = server.produce("demo", [{"value": 1}], **{"async": "true"}).json()["requestId"]
        answer = requests.get(f"{server.url}/api/produce/status/{request_id}?wait=20", timeout=30).json()
        assert answer["status"] == "completed"
        worker.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        worker.send_signal(signal.SIGCONT)
    worker.terminate()

    assert worker.wait(10) == 0
    server.stop()


def test_a_browser_page_of_an_allowed_origin_may_ask(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data", TAKHIN_CORS_ORIGINS="https://app.example.com").start().create_topic("demo")
    url = f"{server.url}/api/topics/demo/produce"
    origin = {"Origin": "https://app.example.com"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,idempotency-key"}
    preflight = requests.options(url, headers={**origin, **asked}, timeout=10)
    answer = requests.post(url, json={"records": [{"value": 1}]}, headers=origin, timeout=10)
    foreign = requests.options(url, headers={"Origin": "https://evil.example", **asked}, timeout=10)
    server.stop()

    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert {"authorization", "idempotency-key"} <= set(preflight.headers["Access-Control-Allow-Headers"].split(", "))
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    exposed = set(answer.headers["Access-Control-Expose-Headers"].split(", "))
    assert {"x-request-id", "idempotent-replayed"} <= exposed
    assert "Access-Control-Allow-Origin" not in foreign.headers
