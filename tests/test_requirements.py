"""What is installed is pinned with its hashes, the same wherever two lists name it, and is what was asked for."""

import re

import pytest

from tests.live import ROOT

pytestmark = pytest.mark.no_database

NAMES = ["requirements", "requirements-dev", "requirements-kafka", "requirements-postgres", "requirements-registry"]


def normal(name: str) -> str:
    """PEP 503, without extras."""
    return re.sub(r"[-_.]+", "-", name.partition("[")[0]).lower()


def asked(name: str) -> dict[str, str]:
    lines = (ROOT / f"{name}.in").read_text().splitlines()
    return {normal(line.partition("==")[0]): line.partition("==")[2] for line in lines if re.match(r"\w", line)}


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


@pytest.mark.parametrize("name", NAMES)
def test_it_works(name: str) -> None:
    assert asked(name).items() <= pinned(name).items()
    assert len(pinned(name)) > len(asked(name)) or name == "requirements-kafka"


@pytest.mark.parametrize("name", NAMES)
def test_lists_can_be_installed_together(name: str) -> None:
    assert pinned(name).items() <= pinned("requirements-dev").items()


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_asked_for_version_alone(name: str) -> None:
    assert all(re.fullmatch(r"[\w.]+", version) for version in asked(name).values())


def test_base_images_are_pinned_by_digest() -> None:
    images = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert len(images) == 2
    assert len(set(images)) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", images[0])
