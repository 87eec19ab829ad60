"""Which pages in a browser may use the API."""

from typing import Any

import pytest

from tests.conftest import Api

PATH = "/api/topics/orders/produce"
BODY = {"records": [{"value": 1}]}


def test_it_works_for_a_page_of_this_server(api: Api, topic: str) -> None:
    assert api.post(PATH, BODY, Origin="http://testserver").status_code == 200


def test_a_program_has_no_origin(api: Api, topic: str) -> None:
    assert api.post(PATH, BODY).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://testserver.evil.example", "http://testserver:81"]
)
def test_a_foreign_page_may_not_write_to_a_server_without_keys(api: Api, topic: str, origin: str) -> None:
    """A form post is sent without a preflight, so any page could write to the server on a developer's machine."""
    answer = api.post(PATH, '{"records":[{"value":1}]}', "application/x-www-form-urlencoded", Origin=origin)

    assert answer.status_code == 403
    assert answer.json()["code"] == "foreign_origin"
    assert api.messages(topic) == []


def test_where_keys_are_required_the_key_decides(api: Api, topic: str, settings: Any) -> None:
    settings.TAKHIN_REQUIRE_API_KEY = True

    assert api.post(PATH, BODY, Origin="https://app.example.com").status_code == 401


def test_an_allowed_origin_is_let_in(api: Api, topic: str, settings: Any) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example.com"]

    assert api.post(PATH, BODY, Origin="https://app.example.com").status_code == 200
    assert api.post(PATH, BODY, Origin="https://other.example.com").status_code == 403
