"""The OpenAPI description is whole and true, and its pages need nothing from outside."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from devservers import ROOT
from devservers.takhin import LiveServer
from tests.conftest import Api
from tests.fuzzing import fuzz

METHODS = ("get", "put", "post", "patch", "delete", "head", "options")


@pytest.fixture
def spec(api: Api) -> Any:
    answer = api.get("/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def operations(spec: Any) -> Iterator[tuple[str, str, Any]]:
    for path, item in spec["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield path, method, operation


def test_it_works(spec: Any) -> None:
    assert spec["openapi"].startswith("3.1")
    assert spec["info"]["title"] == "Takhin HTTP Producer"
    assert "/api/topics/{topic}/produce" in spec["paths"]


def test_it_is_made_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes 50 ms and needs no key: a few clients that asked for it again and again kept all others waiting."""
    first = api.get("/openapi.json")
    monkeypatch.setattr("takhin_site.pages.SchemaGenerator", None)

    again = api.get("/openapi.json")
    assert again.content == first.content
    assert again["Content-Type"] == "application/vnd.oai.openapi+json"
    assert api.post("/openapi.json", {}).status_code == 405


@pytest.mark.no_database
def test_the_description_is_valid_and_without_a_warning() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "spectacular", "--validate", "--fail-on-warn"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def routes(resolver: Any, prefix: str = "/") -> Iterator[tuple[str, set[str]]]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            yield from routes(pattern, prefix + str(pattern.pattern))
        elif isinstance(pattern, URLPattern) and not str(pattern.pattern).startswith("^"):
            view: Any = pattern.callback
            actions = getattr(view, "actions", None) or {
                name: name for name in METHODS if hasattr(getattr(view, "cls", None), name)
            }
            yield re.sub(r"<str:(\w+)>", r"{\1}", prefix + str(pattern.pattern)), set(actions)


def test_every_route_under_api_is_described(spec: Any) -> None:
    served = {
        (path, method)
        for path, methods in routes(get_resolver())
        if path.startswith("/api")
        for method in methods - {"head", "options"}
    }

    assert served == {(path, method) for path, method, _ in operations(spec)}
    assert len(served) >= 11


def test_every_answer_and_every_body_has_an_example_that_fits(spec: Any) -> None:
    seen = 0
    for path, method, operation in operations(spec):
        bodies = [("request", operation["requestBody"])] if "requestBody" in operation else []
        for where, described in [*bodies, *operation["responses"].items()]:
            for media_type, content in described.get("content", {}).items():
                assert content.get("examples"), (path, method, where, media_type)
                for example in content["examples"].values():
                    schema = {**content["schema"], "components": spec["components"]}
                    jsonschema.validate(example["value"], schema, jsonschema.Draft202012Validator)
                    seen += 1
    assert seen > 80


def test_every_operation_says_what_may_go_wrong(spec: Any) -> None:
    for path, _, operation in operations(spec):
        statuses = set(operation["responses"])
        assert {"405", "500"} <= statuses
        if "/health" in path:
            assert operation.get("security") == []
            continue
        assert {"400", "401", "403", "429", "500", "503"} <= statuses
        for status, answer in operation["responses"].items():
            assert "X-Request-Id" in answer["headers"]
            if int(status) >= 400:
                assert set(answer["content"]) == {"application/problem+json"}


def test_either_header_is_enough(spec: Any) -> None:
    """The description once asked for both headers at once, so that a generated client sent a key twice."""
    for path, _, operation in operations(spec):
        if "/health" not in path:
            assert operation["security"] == [{"bearer": []}, {"apiKey": []}]


def test_strict_bodies_say_so(spec: Any) -> None:
    schemas = spec["components"]["schemas"]

    for name in (
        "NewTopicRequest",
        "PatchedTopicChangeRequest",
        "ProduceRequestRequest",
        "RecordRequest",
        "HeaderRequest",
    ):
        assert schemas[name]["additionalProperties"] is False, name


@pytest.mark.parametrize("path", ["/swagger/", "/redoc/"])
def test_the_pages_need_nothing_from_outside(api: Api, path: str) -> None:
    answer = api.get(path)

    assert answer.status_code == 200
    page = answer.content.decode()
    assets = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert assets
    for asset in assets:
        assert asset.startswith(("/", "data:", "#")), asset
        if asset.startswith("/static/"):
            with contextlib.closing(api.get(asset)) as file:
                assert file.status_code == 200, asset
    assert "/openapi.json" in page


@pytest.mark.parametrize("path", ["/swagger", "/redoc"])
def test_the_pages_are_found_without_their_last_slash(api: Api, path: str) -> None:
    answer = api.get(path)

    assert (answer.status_code, answer["Location"]) == (302, f"{path}/")


@pytest.mark.no_database
def test_a_fuzzer_finds_no_answer_that_is_not_described(live: LiveServer, tmp_path: Path) -> None:
    assert fuzz(live, tmp_path, examples=12) >= 1000
