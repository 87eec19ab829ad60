"""What holds records and secrets is its owner's alone, and a secret that can be guessed ends the start."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from devservers import ROOT
from devservers.takhin import LiveServer
from takhin_site import private
from tests.test_configuration import manage, refusal

pytestmark = pytest.mark.no_database


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: mode(path) for path in folder.rglob("*") if path.is_file() and path.name != "server.log"}


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder that everyone may read, as a volume or an administrator makes it."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o755)
    return folder


@pytest.mark.usefixtures("nothing_prepared")
def test_it_works(shared: Path) -> None:
    """The database of an existing folder was readable by every user of the machine."""
    server = LiveServer(shared, DATABASE_URL="").start("--demo")
    server.produce("demo", [{"value": 1}])
    running = modes(shared)
    server.stop()

    assert {"takhin.sqlite3", "takhin.sqlite3.lock", "secret-key", "admin-password"} <= running.keys()
    assert set(running.values()) == {0o600}
    assert set(modes(shared).values()) == {0o600}
    assert mode(shared) == 0o755


@pytest.mark.sqlite
def test_what_others_could_read_is_taken_from_them(shared: Path) -> None:
    assert manage(shared, "migrate").returncode == 0
    for suffix in ("-journal", "-wal", "-shm", ".lock"):
        (shared / f"takhin.sqlite3{suffix}").touch()
    (shared / "admin-password").write_text("secret\n")
    for path in shared.iterdir():
        path.chmod(0o664)

    assert manage(shared, "check").returncode == 0

    assert set(modes(shared).values()) == {0o600}


@pytest.mark.sqlite
def test_a_database_elsewhere_is_private_too(shared: Path, tmp_path: Path) -> None:
    database = shared / "own.sqlite3"
    database.touch(0o644)
    database.chmod(0o644)

    assert manage(tmp_path / "data", "migrate", DATABASE_URL=f"sqlite:///{database}").returncode == 0

    assert mode(database) == 0o600


def test_any_umask_will_do(shared: Path) -> None:
    command = f"umask 000; exec {sys.executable} manage.py migrate"
    subprocess.run(
        ["sh", "-c", command],
        cwd=ROOT,
        env={**os.environ, "TAKHIN_DATA_DIR": str(shared)},
        check=True,
        capture_output=True,
        timeout=120,
    )

    assert set(modes(shared).values()) == {0o600}


def test_what_cannot_be_taken_from_others_ends_the_start(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = shared / "takhin.sqlite3"
    file.touch()
    file.chmod(0o644)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)

    with pytest.raises(private.ImproperlyConfigured, match=r"changing its mode failed .* run chmod 600 .*sqlite3$"):
        private.keep([file])


# Secrets


@pytest.mark.parametrize(
    "secret", ["abc", "x" * 64, "abcd" * 16, "k3y" * 16, "django-insecure-0123456789abcdefghijklmnopqrstuvwxyz01234567"]
)
def test_a_secret_key_that_can_be_guessed_ends_the_start(tmp_path: Path, secret: str) -> None:
    line = refusal(manage(tmp_path, "check", TAKHIN_SECRET_KEY=secret))

    assert line.startswith("takhin: TAKHIN_SECRET_KEY must be ")
    assert secret not in line


def test_a_secret_key_in_a_file_is_judged_too(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("too short\n")

    assert refusal(manage(tmp_path, "check", TAKHIN_SECRET_KEY="", TAKHIN_SECRET_KEY_FILE=str(file))).startswith(
        "takhin: TAKHIN_SECRET_KEY must be at least 50 characters"
    )


def test_a_long_secret_key_is_taken(tmp_path: Path) -> None:
    assert manage(tmp_path, "check", TAKHIN_SECRET_KEY="0123456789" * 5).returncode == 0


@pytest.mark.parametrize("content", ["", "short\n"])
def test_a_secret_key_that_was_cut_short_ends_the_start(tmp_path: Path, content: str) -> None:
    """An empty file, as a full disk leaves it, was a traceback at the first login."""
    (tmp_path / "secret-key").write_text(content)

    assert refusal(manage(tmp_path, "check")).startswith(
        f"takhin: {tmp_path}/secret-key must be at least 50 characters"
    )


def test_starts_at_the_same_moment_agree_on_a_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: private.secret(tmp_path / "secret-key"), range(64)))

    assert len(found) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret-key"]


def test_a_folder_without_hard_links_keeps_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    made = private.secret(tmp_path / "secret-key")

    assert private.secret(tmp_path / "secret-key") == made
    assert mode(tmp_path / "secret-key") == 0o600


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "takhin.example.com"])
def test_debug_pages_are_for_this_machine_alone(tmp_path: Path, host: str) -> None:
    line = refusal(manage(tmp_path, "check", TAKHIN_DEBUG="true", TAKHIN_HOST=host, TAKHIN_REQUIRE_API_KEY="true"))

    assert line.startswith("takhin: TAKHIN_DEBUG must be false unless TAKHIN_HOST is a loopback address")


def test_debug_pages_may_be_shown_on_a_loopback_address(tmp_path: Path) -> None:
    assert manage(tmp_path, "check", TAKHIN_DEBUG="true").returncode == 0
