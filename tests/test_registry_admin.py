"""The registry in the admin: subjects, two versions side by side, and a schema tried before it is registered."""

import json
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from registry.models import Change
from tests.conftest import Api

PAGE = "/admin/registry/subjectversion/"
USER = {"type": "record", "name": "User", "fields": [{"name": "name", "type": "string"}]}
CITY = {**USER, "doc": "<script>", "fields": [*USER["fields"], {"name": "city", "type": "string", "default": "x"}]}
BAD = {**USER, "fields": [{"name": "number", "type": "long"}]}


@pytest.fixture
def admin(api: Api) -> Client:
    get_user_model().objects.create_superuser("boss", password="a-long-password")
    client = Client()
    assert client.login(username="boss", password="a-long-password")
    for schema in (USER, CITY):
        answer = api.post("/registry/subjects/users-value/versions", {"schema": json.dumps(schema)})
        assert answer.status_code == 200, answer.content
    return client


def test_it_works(admin: Client) -> None:
    listed = admin.get(PAGE).content.decode()
    subject = admin.get(f"{PAGE}subject/?subject=users-value").content.decode()

    assert listed.count("users-value") >= 2
    assert "Compare and test" in listed
    assert "Compatibility level BACKWARD (global default)" in subject
    assert "Version 1" in subject
    assert "Version 2" in subject
    assert "diff_add" in subject
    assert "&lt;script&gt;" in subject
    assert "<script>&quot;" not in subject


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (json.dumps(CITY), "Compatible: the schema can be registered."),
        (json.dumps(BAD), "field number is not in User and has no default"),
        ("{", "Invalid schema"),
        ("", "This field is required."),
    ],
)
def test_a_schema_is_tried_and_not_registered(admin: Client, schema: str, said: str) -> None:
    before = Change.objects.count()

    shown = admin.post(f"{PAGE}subject/?subject=users-value", {"text": schema}).content.decode()

    assert said in shown
    assert Change.objects.count() == before


@pytest.mark.parametrize("query", ["", "?subject=nobody", "?subject=users-value&left=x&right=99999999999999999999"])
def test_odd_addresses_are_no_errors(admin: Client, query: str) -> None:
    assert admin.get(f"{PAGE}subject/{query}").status_code == 200


def test_the_history_and_a_version_are_shown(admin: Client) -> None:
    from registry.models import SubjectVersion

    assert "Registered" in admin.get("/admin/registry/change/").content.decode()
    row = SubjectVersion.objects.get(version=2)
    assert "city" in admin.get(f"{PAGE}{row.pk}/change/").content.decode()
    assert admin.get(f"{PAGE}add/").status_code == 403
    assert admin.get("/admin/registry/subjectconfig/").status_code == 200


def test_few_queries(admin: Client, django_assert_max_num_queries: Any) -> None:
    for path in (PAGE, f"{PAGE}subject/?subject=users-value", "/admin/registry/change/"):
        with django_assert_max_num_queries(15):
            admin.get(path)


def test_a_user_without_the_permission_sees_nothing(admin: Client) -> None:
    get_user_model().objects.create_user("guest", password="a-long-password", is_staff=True)
    client = Client()
    client.login(username="guest", password="a-long-password")

    assert client.get(f"{PAGE}subject/?subject=users-value").status_code == 403


def test_nothing_is_shown_where_another_registry_is_in_use(admin: Client, settings: Any) -> None:
    settings.SCHEMA_REGISTRY_URL = "http://registry:8081"

    index = admin.get("/admin/").content.decode()

    assert "/admin/registry/" not in index
    for path in (PAGE, "/admin/registry/change/", "/admin/registry/subjectconfig/"):
        assert admin.get(path).status_code == 403
    assert admin.get(f"{PAGE}subject/?subject=users-value").status_code == 404
