"""Every curl of README.md and docs/usage.md answers what the page says, on a server as `make run` starts it.

A ```console block holds commands, each after `$ `, and under each its answer. Numbers may differ, and so may ids and
times; everything else must not. Of headers, only those that are shown are compared.
"""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from devservers import ROOT
from devservers.takhin import LiveServer
from producer import errors as request_errors
from producer.pipeline.parameters import PARAMETERS
from topics.log import errors as log_errors

pytestmark = pytest.mark.no_database

ADDRESS = "http://127.0.0.1:8080"
PAGES = ("README.md", "docs/usage.md", "docs/guarantees.md")
END = "<end of the answer>"
# What is new in every run, by the text that stands for it.
VOLATILE = {
    "<version>": re.compile(r'(?<="version":")\d+\.\d+\.\d+'),
    "<request>": re.compile(r"req_[0-9a-f]{32}"),
    "<id>": re.compile(r"\b[0-9a-f]{32}\b"),
    "<time>": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"),
}
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


class Example(NamedTuple):
    """One command of a page and the answer that stands under it."""

    command: str
    answer: str


def blocks_of(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def examples_of(page: str) -> Iterator[Example]:
    for block in blocks_of(page, "console"):
        for text in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            # A line that ends in a backslash goes on in the next.
            command = re.match(r"(?:[^\n]*\\\n)*[^\n]*", text)
            assert command is not None
            yield Example(command[0], text[command.end() :])


def shape_of(text: str) -> Any:
    """An answer without what is new in every run: numbers become their type, ids and times a word."""
    text = text.replace("\r", "").strip()
    for word, pattern in VOLATILE.items():
        text = pattern.sub(word, text)
    if text.startswith("HTTP/"):
        head, _, body = text.partition("\n\n")
        status, *headers = head.split("\n")
        return status.strip(), dict(line.lower().split(": ", 1) for line in headers), shape_of(body)
    return typed(json.loads(text)) if text else None


def typed(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {member: typed(content, member) for member, content in value.items()}
    if isinstance(value, list):
        return [typed(content) for content in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) if is_number and name != "status" else value


def run(examples: list[Example], url: str, folder: Path) -> list[str]:
    """Each command's real answer. One shell runs them all, for some set a variable for the next."""
    script = "\n".join(f"{example.command.replace(ADDRESS, url)}\necho; echo '{END}'" for example in examples)
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=120, check=True, errors="replace"
    )
    return done.stdout.split(f"{END}\n")[:-1]


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[LiveServer]:
    """A server as after the first `make run`: its three records are in the topic demo."""
    server = LiveServer(tmp_path / "data").start("--demo")
    while sum(len(server.read("demo", partition)) for partition in range(3)) < 3:
        time.sleep(0.05)
    yield server
    server.stop()


@needs_curl
@pytest.mark.parametrize("page", PAGES)
def test_every_curl_answers_what_the_page_says(page: str, fresh: LiveServer, tmp_path: Path) -> None:
    examples = list(examples_of(page))
    answers = run(examples, fresh.url, tmp_path)
    assert len(answers) == len(examples) > 1
    for example, answer in zip(examples, answers, strict=True):
        expected, found = shape_of(example.answer), shape_of(answer)
        if isinstance(expected, tuple) and isinstance(found, tuple):
            found = (found[0], {name: found[1].get(name) for name in expected[1]}, found[2])
        assert found == expected, f"{page}: {example.command}\nanswered: {answer}"


@pytest.mark.parametrize("page", PAGES)
def test_every_curl_is_run(page: str) -> None:
    """A curl outside a console block would be shown but not tried."""
    in_blocks = sum(len(re.findall(r"\bcurl\b.*http", example.command)) for example in examples_of(page))
    assert in_blocks == len(re.findall(r"\bcurl\b.*http", (ROOT / page).read_text()))


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    here = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text()):
        path, _, anchor = target.partition("#")
        if path.startswith("http"):
            continue
        assert not path or (here / path).exists(), target
        if anchor:
            text = (here / path if path else ROOT / page).read_text()
            titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
            assert anchor in anchors, target


def test_the_guide_holds_the_clients_as_they_are() -> None:
    text = (ROOT / "docs/usage.md").read_text()
    embedded = re.findall(r"<!-- embed: (\S+) -->\n+```\w+\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(embedded) == 3
    for path, shown in embedded:
        assert shown == (ROOT / "docs" / path).read_text(), path


def test_the_guide_says_what_to_do_about_every_code() -> None:
    text = (ROOT / "docs/usage.md").read_text()
    roots = (request_errors.RequestError, request_errors.RecordError, log_errors.StorageError)
    # The roots themselves are never raised.
    codes = {kind.code for root in roots for kind in kinds_of(root)}
    assert len(codes) > 15
    assert {code for code in codes if f"`{code}`" not in text} == set()


def kinds_of(root: type[Any]) -> set[type[Any]]:
    return {kind for child in root.__subclasses__() for kind in {child, *kinds_of(child)}}


def parameter_rows() -> str:
    """The README's table of query parameters, as the code describes them."""
    cells = ((one.name, one.help, ", ".join(map(code, one.values)), code(one.default)) for one in PARAMETERS)
    return "\n".join(f"| {code(name)} | {what} | {values} | {default} |" for name, what, values, default in cells)


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def test_readme_describes_every_parameter_as_the_code_does() -> None:
    assert parameter_rows() in (ROOT / "README.md").read_text(), f"README.md must have:\n{parameter_rows()}"


def test_readme_lists_every_variable_with_its_default() -> None:
    readme, example = (ROOT / "README.md").read_text(), (ROOT / ".env.example").read_text()
    listed = re.findall(r"^\| `([A-Z_]+)` \|(?: `([^`]*)`)? \|", readme, re.MULTILINE)
    assert listed == re.findall(r"^# ([A-Z_]+)=(.*)$", example, re.MULTILINE)
