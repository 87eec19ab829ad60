"""A wrong setting ends the start with one line that names it; what is secret is its owner's alone."""

import os
import re
import runpy
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from devservers import ROOT
from devservers.takhin import LiveServer
from takhin_site import env

pytestmark = pytest.mark.no_database

SETTINGS = (ROOT / "takhin_site" / "settings.py").read_text()
# Name of a variable -> the function of takhin_site.env that reads it.
READ = {name: kind for kind, name in re.findall(r'env\.(\w+)\(\s*"([A-Z_]+)"', SETTINGS)}
WRONG = {
    "integer": ["x", "-1", "1.5", "99999999999", "1e3", "0x10"],
    "processes": ["x", "0", "-1", "65", "all"],
    "boolean": ["maybe", "2", "truely"],
    "choice": ["nonsense", "INFO "],
    "duration": ["30", "5 m", "-1s", "1w", "soon"],
    "origins": ["takhin.example.com", "https://a.example/path", "ftp://a.example"],
    "networks": ["proxy.example", "10.0.0.0/33", "127.0.0.1:80", "*"],
    "credentials": ["nobody"],
    "provider": ["http://login.example.com", "login.example.com"],
    "roles": ["x=Root", "Admin"],
    "database": [
        "nonsense",
        "mysql://u:secret@h/n",
        "sqlite://",
        "sqlite://:memory:",
        "postgres://",
        "://",
        "u:secret@h",
    ],
    "data_folder": ["/dev/null/folder", "/proc/folder"],
    # Any text is right here.
    "text": [],
    "words": [],
}
MORE_WRONG = {
    "TAKHIN_PORT": ["0", "65536"],
    "TAKHIN_THREADS": ["0", "513"],
    "TAKHIN_MAX_BODY_BYTES": ["0"],
    "TAKHIN_MAX_RECORDS": ["0"],
    "TAKHIN_MAX_NESTING": ["0", "501"],
    "TAKHIN_DEFAULT_PARTITIONS": ["0", "1001"],
    "TAKHIN_WORKERS": ["65"],
    "TAKHIN_TRUSTED_ORIGINS": ["*", "https://*.example.com"],
}


def manage(folder: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "TAKHIN_DATA_DIR": str(folder), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refusal(done: "subprocess.CompletedProcess[str]") -> str:
    """The one line on standard error of a command that refused to start."""
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert done.stdout == ""
    return line


def test_it_works(tmp_path: Path) -> None:
    done = manage(tmp_path, "check")

    assert done.returncode == 0, done.stderr


def test_every_variable_is_known_here() -> None:
    assert set(READ.values()) <= set(WRONG)
    assert {name for name in READ if name.startswith("TAKHIN_")} >= set(MORE_WRONG)
    assert "DATABASE_URL" in READ


CASES = [(name, value) for name, kind in READ.items() for value in [*WRONG[kind][:1], *MORE_WRONG.get(name, [])]]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_a_wrong_value_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Settings are read here as at the start of a process, which would take a third of a second for each value."""
    monkeypatch.setenv("TAKHIN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv(name, value)

    with pytest.raises(env.ImproperlyConfigured, match=rf"^{name} must be .*$") as refused:
        runpy.run_path(str(ROOT / "takhin_site" / "settings.py"))

    # These two may hold a secret.
    if name not in ("DATABASE_URL", "SCHEMA_REGISTRY_AUTH"):
        assert repr(value.strip()) in str(refused.value) or value in str(refused.value)


@pytest.mark.parametrize(("name", "value"), [("TAKHIN_PORT", "x"), ("TAKHIN_DATA_DIR", "/proc/folder")])
def test_a_wrong_value_ends_the_start_in_one_line(tmp_path: Path, name: str, value: str) -> None:
    line = refusal(manage(tmp_path, "check", **{name: value}))

    assert line.startswith(f"takhin: {name} must be ")
    assert value in line


PARSERS = [
    (kind, value)
    for kind in ("integer", "boolean", "choice", "duration", "origins", "networks")
    for value in WRONG[kind]
]


@pytest.mark.parametrize(("kind", "value"), PARSERS)
def test_every_kind_refuses_what_it_is_not(monkeypatch: pytest.MonkeyPatch, kind: str, value: str) -> None:
    monkeypatch.setenv("TAKHIN_TRIED", value)
    read = {
        "integer": lambda: env.integer("TAKHIN_TRIED", 1),
        "boolean": lambda: env.boolean("TAKHIN_TRIED", True),
        "choice": lambda: env.choice("TAKHIN_TRIED", "a", ("a", "b")),
        "duration": lambda: env.duration("TAKHIN_TRIED", "1s"),
        "origins": lambda: env.origins("TAKHIN_TRIED"),
        "networks": lambda: env.networks("TAKHIN_TRIED"),
    }[kind]

    with pytest.raises(env.ImproperlyConfigured, match=r"^TAKHIN_TRIED must be "):
        read()


def test_right_values_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def tried(value: str) -> str:
        monkeypatch.setenv("TAKHIN_TRIED", value)
        return "TAKHIN_TRIED"

    assert [env.boolean(tried(value), False) for value in ("1", "true", "YES", " on ")] == [True] * 4
    assert [env.boolean(tried(value), True) for value in ("0", "False", "no", "off")] == [False] * 4
    assert [env.duration(tried(value), "1s") for value in ("0", "90s", "30m", "24h", "7d", "")] == [
        0,
        90,
        1800,
        86_400,
        604_800,
        1,
    ]
    assert env.integer(tried(" 7 "), 1) == 7
    assert env.integer(tried(""), 1) == 1
    assert env.words(tried("a, b,,c "), "") == ["a", "b", "c"]


@pytest.mark.parametrize("url", WRONG["database"])
def test_a_wrong_database_is_refused_without_its_password(tmp_path: Path, url: str) -> None:
    line = refusal(manage(tmp_path, "check", DATABASE_URL=url))

    assert line.startswith("takhin: DATABASE_URL must be sqlite:///FILE or postgres://USER:PASSWORD@HOST/NAME, got ")
    assert "secret" not in line


def test_a_database_of_ones_own_is_used(tmp_path: Path) -> None:
    done = manage(tmp_path, "migrate", DATABASE_URL=f"sqlite:///{tmp_path}/own.sqlite3")

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "own.sqlite3").stat().st_size > 0
    assert not (tmp_path / "takhin.sqlite3").exists()


@pytest.mark.parametrize("url", ["sqlite:////nonexistent/folder/takhin.sqlite3", "sqlite:////dev/null"])
def test_a_database_that_cannot_be_opened_ends_serve_in_one_line(tmp_path: Path, url: str) -> None:
    line = refusal(manage(tmp_path, "serve", DATABASE_URL=url, TAKHIN_PORT=str(LiveServer(tmp_path).port)))

    assert "DATABASE_URL" in line


def test_a_host_that_is_no_address_of_this_machine_ends_serve_in_one_line(tmp_path: Path) -> None:
    variables = {"TAKHIN_HOST": "nowhere.invalid", "TAKHIN_REQUIRE_API_KEY": "true"}
    line = refusal(manage(tmp_path, "serve", **variables))

    assert "TAKHIN_HOST" in line
    assert "nowhere.invalid" in line


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    assert refusal(manage(file, "check")).startswith("takhin: TAKHIN_DATA_DIR must be a writable folder")


def test_the_example_lists_every_variable_and_its_default() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    listed = dict(line[2:].split("=", 1) for line in lines if re.match(r"# [A-Z_]+=", line))

    assert listed.keys() == READ.keys()
    assert all(not line or line.startswith("#") for line in lines)


DEPLOYED = [
    ROOT / "Dockerfile",
    *ROOT.glob("compose*.yml"),
    *(ROOT / "deploy").rglob("*.*"),
    *(ROOT / "docs").glob("*.md"),
]


@pytest.mark.parametrize("file", DEPLOYED, ids=lambda file: str(file.relative_to(ROOT)))
def test_pages_and_deployments_name_only_variables_that_exist(file: Path) -> None:
    named = set(re.findall(r"\b(?:TAKHIN|SCHEMA_REGISTRY)_[A-Z_]*[A-Z]\b", file.read_text()))

    # These two configure the example clients.
    assert {name.removesuffix("_FILE") for name in named} - {"TAKHIN_URL", "TAKHIN_KEY"} <= READ.keys()


def test_the_examples_defaults_are_the_defaults(tmp_path: Path) -> None:
    """Uncommented as it stands, the example changes nothing."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    listed = dict(line[2:].split("=", 1) for line in lines if re.match(r"# [A-Z_]+=", line))
    del listed["TAKHIN_DATA_DIR"]
    code = (
        "from django.conf import settings as s;"
        "print({n: getattr(s, n) for n in dir(s) if n.startswith('TAKHIN_') or n in"
        " ('DEBUG', 'ALLOWED_HOSTS', 'CSRF_TRUSTED_ORIGINS', 'DATABASES', 'LOGGING', 'TOPIC_LOG')})"
    )
    empty = manage(tmp_path, "shell", "-v0", "-c", code, **dict.fromkeys(listed, ""))
    filled = manage(tmp_path, "shell", "-v0", "-c", code, **listed)

    assert filled.returncode == 0, filled.stderr
    assert filled.stdout == empty.stdout


def test_secrets_are_their_owners_alone(live: LiveServer) -> None:
    for name in ("secret-key", "admin-password"):
        file = live.folder / name
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert len(file.read_text().strip()) >= 20


def test_a_folder_that_is_made_is_its_owners_alone(tmp_path: Path) -> None:
    manage(tmp_path / "made", "check")

    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o700


def test_postgresql_without_its_driver_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys, manage; sys.modules['psycopg'] = None; sys.argv[1:] = ['check']; manage.main()"
    variables = {"TAKHIN_DATA_DIR": str(tmp_path), "DATABASE_URL": "postgres://u:secret@localhost/takhin"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert refusal(done) == (
        "takhin: DATABASE_URL selects PostgreSQL, which requires its driver: pip install '.[postgres]'"
    )


def test_a_secret_may_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text("from the file\n")
    monkeypatch.setenv("TAKHIN_TRIED_FILE", str(file))

    assert env.text("TAKHIN_TRIED", "default") == "from the file"
    monkeypatch.setenv("TAKHIN_TRIED", "from the environment")
    assert env.text("TAKHIN_TRIED", "default") == "from the environment"


@pytest.mark.parametrize("name", ["DATABASE_URL", "TAKHIN_SECRET_KEY", "SCHEMA_REGISTRY_AUTH"])
def test_a_file_that_cannot_be_read_ends_the_start_in_one_line(tmp_path: Path, name: str) -> None:
    line = refusal(manage(tmp_path, "check", **{name: "", f"{name}_FILE": "/no/such/file"}))

    assert line.startswith(f"takhin: {name}_FILE must be a readable file (")
    assert line.endswith("got '/no/such/file'")


def test_a_wrong_database_in_a_file_is_refused_without_its_password(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("mysql://u:secret@h/n")

    line = refusal(manage(tmp_path, "check", DATABASE_URL="", DATABASE_URL_FILE=str(file)))

    assert line.startswith("takhin: DATABASE_URL must be ")
    assert "secret" not in line


def test_the_secret_key_is_made_once(tmp_path: Path) -> None:
    manage(tmp_path, "check")
    first = (tmp_path / "secret-key").read_text()

    manage(tmp_path, "check")

    assert (tmp_path / "secret-key").read_text() == first
    assert len(first.strip()) >= 50
