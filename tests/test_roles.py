"""What each role may see and do, on every page and with every action."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from core.models import AuditEntry
from producer.models import ApiKey, BulkAction, ProduceRequest, Status, new_bulk_change
from producer.queue.threads import new_worker
from tests.conftest import Api
from topics.models import Topic

ADMIN = "/admin/"
REQUESTS = "/admin/producer/producerequest/"
# The pages that each role may open besides those of the ones before.
PAGES = {
    "Viewer": [
        "",
        "producer/producerequest/",
        "producer/producerequest/{request}/change/",
        "producer/producerequest/{request}/history/",
        "producer/producerequest/failures/",
        "producer/producerequest/dashboard/",
        "topics/topic/",
        "topics/topic/{topic}/change/",
        "topics/topic/{topic}/history/",
        "topics/partition/",
        "registry/subjectversion/",
        "registry/subjectversion/subject/",
        "registry/change/",
        "core/rejection/",
    ],
    "Operator": [
        "producer/producerequest/{request}/retry/",
        "producer/producerequest/{request}/payload/",
        "producer/producerequest/failures/export/?topic=orders&status=failed&code=unknown_partition",
        "producer/bulkchange/",
        "producer/bulkchange/{bulk}/change/",
        "producer/apikey/",
        "producer/apikey/{key}/change/",
        "topics/recordbatch/",
        "topics/recordbatch/records/?topic=orders",
        "topics/recordbatch/records/value/?topic=orders&partition=0&offset=0",
        "core/auditentry/",
    ],
    "Admin": [
        "producer/producerequest/produce/",
        "producer/apikey/add/",
        "topics/topic/add/",
        "topics/topic/{topic}/delete/",
        "auth/user/",
        "auth/user/add/",
        "auth/group/",
    ],
}
ROLES = list(PAGES)


def browser_of(role: str) -> Client:
    user = User.objects.create_user(role, password="correct horse battery", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


@pytest.fixture
def places(api: Api, topic: str) -> dict[str, Any]:
    api.produce(topic, [{"value": "secret", "partition": 0}])
    api.produce(topic, [{"value": "secret", "partition": 99}], async_="true")
    new_worker().work_once()
    row = ProduceRequest.objects.get(status=Status.FAILED)
    key = ApiKey(name="k")
    key.issue_secret()
    key.save()
    bulk = new_bulk_change(BulkAction.RETRY, "x", [])
    bulk.save()
    return {
        "request": row.pk.replace("_", "_5F"),
        "topic": Topic.objects.get().pk,
        "key": key.pk,
        "bulk": bulk.pk,
    }


@pytest.mark.parametrize("role", ROLES)
def test_every_page_is_open_to_its_roles_and_closed_to_others(role: str, places: dict[str, Any]) -> None:
    browser = browser_of(role)
    expected = {
        page: page_role in ROLES[: ROLES.index(role) + 1] for page_role, pages in PAGES.items() for page in pages
    }

    found = {}
    for page in expected:
        status = browser.get(ADMIN + page.format(**places)).status_code
        assert status in (200, 403), (page, status)
        found[page] = status == 200

    assert found == expected


@pytest.mark.parametrize(
    ("role", "may"), [("Viewer", set()), ("Operator", {"retry", "cancel"}), ("Admin", {"retry", "cancel", "revoke"})]
)
def test_every_action_is_open_to_its_roles(
    api: Api, topic: str, places: dict[str, Any], role: str, may: set[str]
) -> None:
    browser = browser_of(role)
    api.produce(topic, [{"value": 1}], async_="true")
    pending = ProduceRequest.objects.get(status=Status.PENDING)
    failed = ProduceRequest.objects.get(status=Status.FAILED)

    browser.post(f"{REQUESTS}{places['request']}/retry/", {"confirmed": "1"})
    browser.post(f"{REQUESTS}{pending.pk.replace('_', '_5F')}/cancel/", {"confirmed": "1"})
    browser.post(f"{ADMIN}producer/apikey/", {"action": "revoke", "_selected_action": [places["key"]]})
    browser.post(f"{ADMIN}producer/apikey/add/", {"name": "mine", "scopes": ["manage"], "topics": "*"})

    assert (ProduceRequest.objects.get(pk=failed.pk).status == Status.PENDING) is ("retry" in may)
    assert (ProduceRequest.objects.get(pk=pending.pk).status == Status.CANCELLED) is ("cancel" in may)
    assert (ApiKey.objects.get(pk=places["key"]).revoked_at is not None) is ("revoke" in may)
    assert ApiKey.objects.filter(name="mine").exists() is (role == "Admin")


def test_a_viewer_sees_no_payload_anywhere(places: dict[str, Any]) -> None:
    browser = browser_of("Viewer")

    for page in PAGES["Viewer"]:
        assert b"secret" not in browser.get(ADMIN + page.format(**places)).content, page


def test_a_new_key_starts_with_least_privilege(places: dict[str, Any]) -> None:
    browser = browser_of("Admin")
    page = browser.get(f"{ADMIN}producer/apikey/add/").content.decode()

    assert "checked" not in page[page.index("scopes") : page.index("topics")]
    form = {"name": "k", "scopes": ["produce"], "topics": "orders"}
    assert b"Another usable key has this name" in browser.post(f"{ADMIN}producer/apikey/add/", form).content
    form = {"name": "fresh", "topics": "orders"}
    assert b"Choose at least one scope" in browser.post(f"{ADMIN}producer/apikey/add/", form).content
    form = {"name": "fresh", "scopes": ["produce"], "topics": ""}
    assert b"This field is required" in browser.post(f"{ADMIN}producer/apikey/add/", form).content
    assert ApiKey.objects.count() == 1


def test_granted_rights_are_in_the_audit_log(api: Api, topic: str) -> None:
    browser = Client()
    browser.force_login(User.objects.create_superuser("root", password="correct horse battery"))
    form = {"username": "olga", "password1": "correct horse battery", "password2": "correct horse battery"}
    assert browser.post(f"{ADMIN}auth/user/add/", {**form, "usable_password": "true"}).status_code == 302
    olga = User.objects.get(username="olga")
    rights = {"groups": [Group.objects.get(name="Operator").pk], "is_active": "on", "is_staff": "on"}
    rights["user_permissions"] = [Permission.objects.get(codename="view_user").pk]
    joined = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    assert (
        browser.post(f"{ADMIN}auth/user/{olga.pk}/change/", {"username": "olga", **rights, **joined}).status_code == 302
    )
    assert browser.post(f"{ADMIN}auth/group/add/", {"name": "Auditors"}).status_code == 302

    changed = AuditEntry.objects.get(event="user_changed")
    details = {
        "roles": ["Operator"],
        "permissions": ["auth.view_user"],
        "is_active": True,
        "is_staff": True,
        "is_superuser": False,
    }
    assert changed.actor == "user root"
    assert {name: changed.read_details()[name] for name in details} == details
    assert "Groups" in changed.read_details()["fields"]
    assert AuditEntry.objects.get(event="user_created").name == "olga"
    assert AuditEntry.objects.get(event="group_created").name == "Auditors"
    history = browser.get(f"{ADMIN}auth/user/{olga.pk}/history/").content.decode()
    assert "user_created" in history
    assert "user_changed" in history

    assert browser.post(f"{ADMIN}auth/user/{olga.pk}/delete/", {"post": "yes"}).status_code == 302
    assert AuditEntry.objects.get(event="user_deleted").name == "olga"
