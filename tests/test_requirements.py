"""What is installed is pinned with its hashes, the same wherever two lists name it, and is what was asked for."""

import re
import tomllib

import pytest

from devservers import ROOT

pytestmark = pytest.mark.no_database

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BASE = PROJECT["project"]["dependencies"]
EXTRAS = [line for extra in PROJECT["project"]["optional-dependencies"].values() for line in extra]
ASKED = {
    "requirements": BASE,
    "requirements-all": BASE + EXTRAS,
    "requirements-otel": BASE + PROJECT["project"]["optional-dependencies"]["otel"],
    "requirements-sso": BASE + PROJECT["project"]["optional-dependencies"]["sso"],
    "requirements-dev": BASE + EXTRAS + PROJECT["dependency-groups"]["dev"],
}


def normal(name: str) -> str:
    """PEP 503, without extras."""
    return re.sub(r"[-_.]+", "-", name.partition("[")[0]).lower()


def asked(name: str) -> dict[str, str]:
    lines = (line.partition(";")[0].strip() for line in ASKED[name])
    return {normal(line.partition("==")[0]): line.partition("==")[2] for line in lines}


def pinned(name: str) -> dict[str, str]:
    """Name -> version; fails on a requirement without a hash."""
    found = {}
    for block in re.split(r"\n(?=\w)", (ROOT / f"{name}.txt").read_text()):
        if match := re.match(r"([\w.-]+)==(\S+)", block):
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), match[1]
            found[normal(match[1])] = match[2]
        else:
            assert all(line.startswith("#") for line in block.splitlines()), block
    return found


@pytest.mark.parametrize("name", ASKED)
def test_it_works(name: str) -> None:
    assert asked(name).items() <= pinned(name).items()
    assert len(pinned(name)) > len(asked(name))


@pytest.mark.parametrize("name", ASKED)
def test_lists_can_be_installed_together(name: str) -> None:
    assert pinned(name).items() <= pinned("requirements-dev").items()


@pytest.mark.parametrize("name", ASKED)
def test_it_is_the_asked_for_version_alone(name: str) -> None:
    assert all(re.fullmatch(r"[\w.]+", version) for version in asked(name).values())


def test_the_image_is_built_with_the_pinned_backend() -> None:
    (backend,) = PROJECT["build-system"]["requires"]

    assert backend in PROJECT["dependency-groups"]["dev"]


def test_base_images_are_pinned_by_digest() -> None:
    images = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert len(images) == 2
    assert len(set(images)) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", images[0])
