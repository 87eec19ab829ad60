"""With TAKHIN_ADMIN=false there is no admin: no page, no user, no password, and no file that only it needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from devservers.takhin import LiveServer

pytestmark = pytest.mark.no_database


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("off") / "data", TAKHIN_ADMIN="false").start("--demo")
    yield server
    server.stop()


@pytest.mark.parametrize("path", ["/admin", "/admin/", "/admin/login/", "/admin/producer/apikey/", "/admin/jsi18n/"])
def test_it_works(server: LiveServer, path: str) -> None:
    for method in ("GET", "POST"):
        answer = requests.request(method, f"{server.url}{path}", timeout=10, allow_redirects=False)
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] == "not_found"
        assert "Set-Cookie" not in answer.headers


def test_nothing_points_to_it(server: LiveServer) -> None:
    assert "admin" not in requests.get(f"{server.url}/", timeout=10).json()["links"]
    assert server.saw("Ctrl-C stops the server.")
    greeting = [line for line in server.log.read_text().splitlines() if not line.startswith("{")]
    assert not [line for line in greeting if "admin" in line.lower() or "password" in line]
    assert not (server.folder / "admin-password").exists()


@pytest.mark.parametrize(
    "path", ["admin/css/base.css", "unfold/js/app.js", "unfold/css/styles.css", "admin/js/vendor/jquery/jquery.js"]
)
def test_its_files_are_not_served(server: LiveServer, path: str) -> None:
    assert requests.get(f"{server.url}/static/{path}", timeout=10).status_code == 404


def test_the_rest_is_as_ever(server: LiveServer) -> None:
    assert server.produce("demo", [{"value": 1}]).status_code == 200
    assert requests.get(f"{server.url}/api/health/ready", timeout=10).status_code == 200
    for path in ("/swagger/", "/redoc/", "/openapi.json", "/registry/subjects", "/static/takhin/icon.svg"):
        assert requests.get(f"{server.url}{path}", timeout=10).status_code == 200, path
    assert server.manage("create_api_key", "ci").splitlines()[-1].startswith("tk_")


@pytest.mark.usefixtures("nothing_prepared")
def test_it_may_be_switched_off_and_on(tmp_path: Path) -> None:
    """Tables and the user admin stay while it is off, and are made where it was off at first."""
    folder = tmp_path / "data"
    LiveServer(folder, TAKHIN_ADMIN="false").start().stop()
    on = LiveServer(folder).start()
    assert requests.get(f"{on.url}/admin/login/", timeout=10).status_code == 200
    password = (folder / "admin-password").read_text()
    on.stop()
    off = LiveServer(folder, TAKHIN_ADMIN="false").start()
    assert requests.get(f"{off.url}/admin/login/", timeout=10).status_code == 404
    assert requests.get(f"{off.url}/api/health", timeout=10).json()["status"] == "ok"
    off.stop()

    again = LiveServer(folder).start()
    assert requests.get(f"{again.url}/admin/login/", timeout=10).status_code == 200
    again.stop()
    assert (folder / "admin-password").read_text() == password
