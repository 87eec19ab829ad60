"""Imports go one way, and every error that can reach a view has a status."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from producer import errors, exceptions
from tests.live import ROOT
from topics import errors as log_errors

pytestmark = pytest.mark.no_database

APPS = ("takhin_site", "producer", "registry", "topics")
# What each may import of the house; the way down is takhin_site -> producer -> registry -> topics.
MAY_IMPORT = {
    "takhin_site": {"producer", "registry", "topics"},
    "producer": {"registry", "topics"},
    "registry": {"topics"},
    "topics": set(),
}
# Where HTTP may be known, relative to an app.
HTTP = {"views", "serializers", "docs", "exceptions", "authentication", "media", "health", "wire"}
# Read while settings are, before any app is.
SETTINGS = ("takhin_site/settings.py", "takhin_site/env.py", "takhin_site/logs.py")
BANNED_NAMES = {"utils", "helpers", "managers", "signals"}


def modules(app: str) -> Iterator[Path]:
    for path in sorted((ROOT / app).rglob("*.py")):
        if "migrations" not in path.parts:
            yield path


def imports_of(path: Path) -> set[str]:
    """Dotted names that a module imports, wherever in it the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


ALL = [path for app in APPS for path in modules(app)]
IDS = [str(path.relative_to(ROOT)) for path in ALL]


def test_it_works() -> None:
    assert "topics.logs.current_log" in imports_of(ROOT / "producer" / "views.py")
    assert len(ALL) > 40


@pytest.mark.parametrize("path", ALL, ids=IDS)
def test_imports_go_one_way(path: Path) -> None:
    app = path.relative_to(ROOT).parts[0]

    upwards = {
        name
        for name in imports_of(path)
        if name.split(".")[0] in APPS and name.split(".")[0] not in MAY_IMPORT[app] | {app}
    }

    assert not upwards


@pytest.mark.parametrize("path", list(modules("registry/avro_json")), ids=str)
def test_avro_json_stands_on_the_reading_of_json_alone(path: Path) -> None:
    own = {name for name in imports_of(path) if name.split(".")[0] in APPS}

    assert all(name.startswith("registry.avro_json.") for name in own - {"topics.json_text"})


@pytest.mark.parametrize("path", SETTINGS)
def test_settings_import_no_app(path: str) -> None:
    assert not {name for name in imports_of(ROOT / path) if name.split(".")[0] in ("producer", "topics")}


@pytest.mark.parametrize("path", ALL, ids=IDS)
def test_http_is_known_at_the_edge_alone(path: Path) -> None:
    relative = path.relative_to(ROOT)
    at_the_edge = relative.parts[0] == "takhin_site" or relative.stem in HTTP

    knows = {name for name in imports_of(path) if name.split(".")[0] in ("rest_framework", "drf_spectacular")}

    assert at_the_edge or not knows


@pytest.mark.parametrize("path", ALL, ids=IDS)
def test_only_views_choose_success_and_only_exceptions_choose_failure(path: Path) -> None:
    """STATUSES is the one table of refusals: no other module below the views names an HTTP status."""
    if path.relative_to(ROOT).parts[0] == "takhin_site" or path.stem in HTTP or "admin" in str(path):
        return
    named = {
        node.arg
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        for node in call.keywords
        if node.arg == "status" and isinstance(node.value, ast.Constant) and isinstance(node.value.value, int)
    }

    assert not named


@pytest.mark.parametrize("path", ALL, ids=IDS)
def test_a_module_is_one_noun_of_a_readable_length(path: Path) -> None:
    assert path.stem not in BANNED_NAMES
    assert len(path.read_text().splitlines()) <= 300


def errors_of(module: object, base: type[Exception]) -> list[type[Exception]]:
    return [kind for _, kind in inspect.getmembers(module, inspect.isclass) if issubclass(kind, base)]


REQUEST_ERRORS = errors_of(errors, errors.RequestError)
LOG_ERRORS = [kind for kind in errors_of(log_errors, log_errors.LogError) if kind is not log_errors.LogError]
RECORD_ERRORS = errors_of(errors, errors.RecordError)


@pytest.mark.parametrize("kind", [*REQUEST_ERRORS, *LOG_ERRORS])
def test_every_error_that_can_reach_a_view_has_a_status(kind: type[Exception]) -> None:
    status = exceptions.status_of(kind.__new__(kind))

    assert status is not None
    assert 400 <= status <= 504


@pytest.mark.parametrize("kind", LOG_ERRORS)
def test_an_error_is_retriable_where_its_status_says_so(kind: type[log_errors.LogError]) -> None:
    assert kind.retriable is (exceptions.status_of(kind.__new__(kind)) in exceptions.RETRY_AFTER)


def test_every_error_has_a_code_of_its_own() -> None:
    kinds = [*REQUEST_ERRORS, *LOG_ERRORS, *RECORD_ERRORS]
    codes = [getattr(kind, "code", "") for kind in kinds]

    assert len(set(codes)) == len(codes)
    assert all(code and code.replace("_", "").islower() for code in codes)


@pytest.mark.parametrize("module", [errors, log_errors])
def test_the_tree_in_the_docstring_names_every_error(module: object) -> None:
    drawn = inspect.getdoc(module) or ""

    for kind in errors_of(module, Exception):
        if kind.__module__ == getattr(module, "__name__", ""):
            assert kind.__name__ in drawn
