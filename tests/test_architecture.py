"""What import-linter cannot see: paths in strings, the table of statuses, and the error trees in docstrings."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.utils.module_loading import import_string

from core import errors as storage_errors
from core.api import errors as request_errors
from core.api.problems import RETRY_AFTER
from devservers import ROOT
from producer import errors
from registry import errors as registry_errors
from takhin_site.problems import status_of
from topics.log import errors as log_errors

pytestmark = pytest.mark.no_database

# From the top down: each package may name only those after it.
PACKAGES = ["takhin_site", "producer", "registry", "topics", "core"]
DOTTED = re.compile(rf'"((?:{"|".join(PACKAGES)})(?:\.[A-Za-z_][A-Za-z0-9_]*)+)"')
# In strings, these are the names of permissions and models, not paths.
LABEL = re.compile(r"\w+\.((view|add|change|delete)_\w+|[a-z]+)")

# Packages and modules, and the application, whose import starts the workers.
NOT_IMPORTED = (".urls", ".settings", "engines.sqlite3", "engines.postgresql", "wsgi.application")


def modules(package: str) -> Iterator[Path]:
    for path in sorted((ROOT / package).rglob("*.py")):
        if "migrations" not in path.parts:
            yield path


def dotted_paths(package: str) -> set[str]:
    found = {name for path in modules(package) for name in DOTTED.findall(path.read_text())}
    return {name for name in found if not LABEL.fullmatch(name)}


@pytest.mark.parametrize("package", PACKAGES)
def test_dotted_paths_in_strings_lead_down(package: str) -> None:
    above = PACKAGES[: PACKAGES.index(package)]

    assert not {name for name in dotted_paths(package) if name.split(".")[0] in above}


def test_dotted_paths_in_the_settings_lead_somewhere() -> None:
    found = dotted_paths("takhin_site")

    assert {settings.TOPIC_LOG, settings.SCHEMA_SOURCE, settings.RECORD_DECODER} <= found
    for name in found:
        if not name.endswith(NOT_IMPORTED) and "Kafka" not in name:
            assert import_string(name)


def errors_of(module: object, base: type[Exception]) -> list[type[Exception]]:
    return [kind for _, kind in inspect.getmembers(module, inspect.isclass) if issubclass(kind, base)]


STORAGE_ERRORS = [
    kind
    for module in (storage_errors, log_errors)
    for kind in errors_of(module, storage_errors.StorageError)
    if kind is not storage_errors.StorageError and kind.__module__ == getattr(module, "__name__", "")
]
REQUEST_ERRORS = sorted(
    {kind for module in (request_errors, errors) for kind in errors_of(module, request_errors.RequestError)},
    key=lambda kind: kind.__name__,
)
REGISTRY_ERRORS = [kind for kind in errors_of(registry_errors, Exception) if "code" in vars(kind)]
RECORD_ERRORS = errors_of(errors, errors.RecordError)


@pytest.mark.parametrize("kind", [*REQUEST_ERRORS, *REGISTRY_ERRORS, *STORAGE_ERRORS])
def test_every_error_that_can_reach_a_view_has_a_status(kind: type[Exception]) -> None:
    status = status_of(kind.__new__(kind))

    assert status is not None
    assert 400 <= status <= 504


@pytest.mark.parametrize("kind", STORAGE_ERRORS)
def test_an_error_is_retriable_if_its_status_says_so(kind: type[storage_errors.StorageError]) -> None:
    may_pass = kind is log_errors.TopicNotYetVisible
    assert kind.retriable is (status_of(kind.__new__(kind)) in RETRY_AFTER or may_pass)


def test_every_error_has_a_code_of_its_own() -> None:
    kinds = {*REQUEST_ERRORS, *REGISTRY_ERRORS, *STORAGE_ERRORS, *RECORD_ERRORS} - {log_errors.TopicNotYetVisible}
    codes = [getattr(kind, "code", "") for kind in kinds]

    assert len(set(codes)) == len(codes)
    assert all(code and code.replace("_", "").islower() for code in codes)


@pytest.mark.parametrize("module", [errors, request_errors, storage_errors, log_errors, registry_errors])
def test_the_tree_in_the_docstring_names_every_error(module: object) -> None:
    drawn = inspect.getdoc(module) or ""

    for kind in errors_of(module, Exception):
        if kind.__module__ == getattr(module, "__name__", ""):
            assert kind.__name__ in drawn
