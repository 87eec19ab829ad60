"""The wheel, installed in a fresh virtual environment, works in an empty folder as a checkout does."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
import requests
from django.conf import settings

from devservers import ROOT
from devservers.takhin import LiveServer

pytestmark = [pytest.mark.external, pytest.mark.no_database]

BUILD = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
PACKAGES = BUILD["targets"]["wheel"]["packages"]
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]


class InstalledServer(LiveServer):
    """`takhin serve` in a folder, with no more settings than its `.env`."""

    def __init__(self, program: Path, folder: Path) -> None:
        super().__init__(folder)
        self.program = program
        self.root = folder
        folder.mkdir()
        (folder / ".env").write_text(f"TAKHIN_PORT={self.port}\nTAKHIN_REQUIRE_API_KEY=false\n")
        kept = {name: value for name, value in os.environ.items() if not re.match("TAKHIN|KAFKA|SCHEMA|DJANGO", name)}
        self.environment = kept | {"DATABASE_URL": self.environment["DATABASE_URL"]}

    def command(self, command: str = "serve", *arguments: str) -> list[str]:
        return [str(self.program), command, *arguments]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*PIP, "wheel", *options, str(ROOT)], check=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `takhin`. Its environment finds the dependencies in this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    python = str(folder / "bin" / "python")
    subprocess.run([*PIP, "--python", python, "install", "--no-deps", "--no-index", str(wheel)], check=True)
    return folder / "bin" / "takhin"


@pytest.fixture
def server(program: Path, tmp_path: Path) -> InstalledServer:
    return InstalledServer(program, tmp_path / "empty")


def first_screen(server: LiveServer) -> str:
    """What the server prints when it starts, without its log lines and what differs in each run."""
    server.start("--demo")
    assert server.saw("Ctrl-C stops the server."), server.log.read_text()
    shown = re.sub(r"^\{.*\n", "", server.log.read_text(), flags=re.MULTILINE)
    return re.sub(r"password \S+", "password …", shown.replace(str(server.port), "PORT"))


def test_it_works(server: InstalledServer, tmp_path: Path) -> None:
    checkout = LiveServer(tmp_path / "checkout")
    shown, expected = first_screen(server), first_screen(checkout)
    checkout.stop()

    health = requests.get(f"{server.url}/api/health", timeout=10)
    login = requests.get(f"{server.url}/admin/", timeout=10)
    assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', login.text)
    statuses = {asset: requests.get(f"{server.url}{asset}", timeout=10).status_code for asset in assets}
    assert server.stop() == 0

    assert shown == expected
    assert "Three records are in the topic demo" in shown
    assert health.status_code == 200
    assert health.json()["version"] == settings.VERSION
    assert login.url.endswith("/admin/login/?next=/admin/")
    assert any("takhin/admin.css" in asset for asset in assets)
    assert set(statuses.values()) == {200}, statuses
    assert (server.folder / "data" / "admin-password").exists()


def test_the_commands_of_the_readme_work(server: InstalledServer) -> None:
    commands = re.findall(r"^\.venv/bin/takhin (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    names = ["migrate", "create_topic", "create_api_key", "backup", "restore"]
    assert [command.split()[0] for command in commands] == names
    commands = [command.replace("/backups", str(server.folder)) for command in commands]
    printed = [server.manage(*command.replace("'", "").split()) for command in commands]

    assert printed[1] == "Created topic orders with 6 partitions.\n"
    assert printed[2].splitlines()[-1].startswith("tk_")
    assert printed[3].startswith("Backed up to ")
    assert printed[4].startswith("Restored ")


def test_an_invalid_setting_is_one_line(server: InstalledServer) -> None:
    (server.folder / ".env").write_text("TAKHIN_PORT=web\n")
    done = subprocess.run(
        server.command(), cwd=server.root, env=server.environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr == "takhin: TAKHIN_PORT must be a whole number from 1 to 65535, got 'web'\n"


@pytest.mark.parametrize("argument", ["version", "--version"])
def test_the_version_is_the_packages(server: InstalledServer, wheel: Path, argument: str) -> None:
    assert server.manage(argument) == f"{settings.VERSION}\n"
    assert wheel.name == f"takhin_http_producer-{settings.VERSION}-py3-none-any.whl"
    assert list(server.folder.iterdir()) == [server.folder / ".env"]


def test_the_wheel_holds_every_file_of_its_packages_and_nothing_else(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [path.relative_to(ROOT) for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file()]

    assert packed == {str(path) for path in files if "__pycache__" not in path.parts}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_image_gets_every_package(package: str) -> None:
    assert f"!{package}" in (ROOT / ".dockerignore").read_text().splitlines()
