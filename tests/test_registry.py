"""The registry's contract: each call, its answer, and the number of each refusal."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import requests
from django.db import connection, connections

from devservers.takhin import LiveServer
from registry.models import Change, Schema, SubjectVersion
from tests.conftest import Api

USER = {"type": "record", "name": "User", "fields": [{"name": "name", "type": "string"}]}
CITY = {**USER, "fields": [*USER["fields"], {"name": "city", "type": "string", "default": ""}]}
BAD = {**USER, "fields": [*USER["fields"], {"name": "city", "type": "string"}]}
MISSING = {"name": "X", "subject": "x", "version": 1}
MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"


def call(api: Api, method: str, path: str, body: Any = None, **headers: str) -> Any:
    data = body if isinstance(body, str) else json.dumps(body) if body is not None else ""
    return api.client.generic(method, f"/registry{path}", data, content_type=MEDIA_TYPE, headers=headers)


def schema(value: Any, **members: Any) -> dict[str, Any]:
    return {"schema": json.dumps(value), **members}


@pytest.fixture
def user(api: Api) -> int:
    """The id of the first version of subject `user`."""
    answer = call(api, "POST", "/subjects/user/versions", schema(USER))
    assert answer.status_code == 200, answer.content
    schema_id: int = answer.json()["id"]
    return schema_id


def test_it_works(api: Api, user: int) -> None:
    answer = call(api, "GET", "/subjects/user/versions/latest")

    assert answer["Content-Type"] == MEDIA_TYPE
    assert answer.json() == {
        "subject": "user",
        "version": 1,
        "id": user,
        "schema": json.dumps(USER, separators=(",", ":")),
    }


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "/", None, {}),
        ("GET", "/contexts", None, ["."]),
        ("GET", "/schemas/types", None, ["AVRO"]),
        ("GET", "/subjects", None, ["user"]),
        ("GET", "/subjects?subjectPrefix=x", None, []),
        ("GET", "/subjects?deleted=True&offset=0&limit=-1", None, ["user"]),
        ("GET", "/subjects?offset=1", None, []),
        ("GET", "/subjects?limit=0", None, []),
        ("GET", "/subjects/user/versions", None, [1]),
        ("GET", "/subjects/user/versions/1/schema", None, USER),
        ("GET", "/subjects/user/versions/-1/referencedby", None, []),
        ("GET", "/config", None, {"compatibilityLevel": "BACKWARD"}),
        ("GET", "/config/user?defaultToGlobal=true", None, {"compatibilityLevel": "BACKWARD"}),
        ("PUT", "/config", {"compatibility": "FULL"}, {"compatibility": "FULL"}),
        ("PUT", "/config/user", {"compatibility": "none"}, {"compatibility": "NONE"}),
        ("GET", "/mode", None, {"mode": "READWRITE"}),
        ("PUT", "/mode/user", {"mode": "READONLY"}, {"mode": "READONLY"}),
        ("POST", "/compatibility/subjects/user/versions/latest", schema(CITY), {"is_compatible": True}),
        ("POST", "/compatibility/subjects/user/versions", schema(CITY), {"is_compatible": True}),
        ("POST", "/compatibility/subjects/new/versions", schema(CITY), {"is_compatible": True}),
        ("POST", "/compatibility/subjects/new/versions/latest", schema(CITY), {"is_compatible": True}),
        ("POST", "/compatibility/subjects/new/versions/-1", schema(CITY), {"is_compatible": True}),
        (
            "POST",
            "/compatibility/subjects/new/versions/latest?verbose=true",
            schema(CITY),
            {"is_compatible": True, "messages": []},
        ),
        ("PUT", "/config", {"compatibilityLevel": "FULL"}, {"compatibility": "FULL"}),
        (
            "PUT",
            "/config/user",
            {"compatibility": "FULL", "alias": None, "normalize": False, "defaultRuleSet": None},
            {"compatibility": "FULL"},
        ),
        ("POST", "/compatibility/subjects/user/versions/1", schema(BAD), {"is_compatible": False}),
        ("DELETE", "/subjects/user", None, [1]),
        ("DELETE", "/subjects/user/versions/latest", None, 1),
    ],
)
def test_an_answer(api: Api, user: int, method: str, path: str, body: Any, expected: Any) -> None:
    answer = call(api, method, path, body)

    assert answer.status_code == 200, answer.content
    assert answer.json() == expected


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/subjects/nobody/versions", None, 404, 40401),
        ("GET", "/subjects/user/versions/9", None, 404, 40402),
        ("GET", "/subjects/user/versions/0", None, 422, 42202),
        ("GET", "/subjects/user/versions/first", None, 422, 42202),
        ("GET", "/subjects/user/versions/99999999999", None, 422, 42202),
        ("GET", "/schemas/ids/999999999", None, 404, 40403),
        ("GET", "/schemas/ids/x", None, 404, 404),
        ("GET", "/schemas/ids/99999999999999999999", None, 404, 404),
        ("GET", "/config/user", None, 404, 40408),
        ("GET", "/mode/user", None, 404, 40409),
        ("DELETE", "/config/user", None, 404, 40408),
        ("PUT", "/config", {"compatibility": "SOMETIMES"}, 422, 42203),
        ("PUT", "/mode", {"mode": "SOMETIMES"}, 422, 42204),
        ("PUT", "/config", {}, 422, 422),
        ("POST", "/subjects/user", schema(CITY), 404, 40403),
        ("POST", "/subjects/nobody", schema(CITY), 404, 40401),
        ("POST", "/subjects/user/versions", schema(BAD), 409, 409),
        ("POST", "/subjects/user/versions", schema({"type": "nonsense"}), 422, 42201),
        ("POST", "/subjects/user/versions", {"schema": "{"}, 422, 42201),
        ("POST", "/subjects/user/versions", {"schema": "[" * 100_000}, 422, 42201),
        ("POST", "/subjects/user/versions", {"schema": "{}", "schemaType": "JSON"}, 422, 42201),
        ("POST", "/subjects/user/versions", {"schema": "{}", "schemaType": "PROTOBUF"}, 422, 42201),
        (
            "POST",
            "/subjects/user/versions",
            schema("X", references=[MISSING]),
            422,
            42201,
        ),
        ("POST", "/subjects/user/versions", schema(USER, metadata={"properties": {}}), 422, 42201),
        ("POST", "/subjects/user/versions", schema(USER, ruleSet={"domainRules": []}), 422, 42201),
        ("POST", "/subjects/user/versions", {}, 422, 422),
        ("POST", "/subjects/user/versions", "{", 422, 422),
        ("POST", "/subjects/user/versions", "[" * 100_000, 422, 422),
        ("POST", f"/subjects/{'x' * 256}/versions", schema(USER), 422, 42208),
        ("POST", "/compatibility/subjects/new/versions/1", schema(CITY), 404, 40402),
        ("POST", "/compatibility/subjects/user/versions/9", schema(CITY), 404, 40402),
        ("POST", "/compatibility/subjects/new/versions/latest", schema("nonsense"), 422, 42201),
        ("POST", "/subjects/new/versions", schema(CITY, id=4711), 422, 42205),
        ("POST", "/subjects/user/versions", schema(CITY, id=0), 422, 42205),
        ("POST", "/subjects/user/versions", schema(USER, id=1), 422, 42205),
        ("POST", "/subjects/new/versions", schema(CITY, version=3), 422, 42205),
        ("POST", "/subjects/new/versions", schema(CITY, id="x"), 422, 422),
        ("POST", "/subjects/user/versions", schema(USER, schemaTagsToAdd=[]), 422, 42201),
        ("PUT", "/config/user", {"compatibility": "FULL", "alias": "other"}, 422, 422),
        ("PUT", "/config/user", {"compatibility": "FULL", "normalize": True}, 422, 422),
        ("PUT", "/config/user", {"alias": "other"}, 422, 422),
        ("PUT", "/config", {"compatibility": "FULL", "compatibilityGroup": "application.version"}, 422, 422),
        ("PUT", "/config", {"compatibility": "FULL", "defaultMetadata": {"properties": {}}}, 422, 422),
        ("PUT", "/config", {"compatibility": "FULL", "overrideMetadata": {}}, 422, 422),
        ("PUT", "/config", {"compatibility": "FULL", "defaultRuleSet": {"domainRules": []}}, 422, 422),
        ("PUT", "/config", {"compatibility": "FULL", "overrideRuleSet": {}}, 422, 422),
        ("PUT", "/config", {"compatibility": "FULL", "somethingNew": 1}, 422, 422),
        ("DELETE", "/subjects/nobody", None, 404, 40401),
        ("DELETE", "/subjects/user?permanent=true", None, 404, 40405),
        ("DELETE", "/subjects/user/versions/1?permanent=True", None, 404, 40407),
        ("GET", "/subjects?deleted=maybe", None, 400, 400),
        ("GET", "/subjects?limit=x", None, 400, 400),
        ("GET", "/associations/resources/ns/topic?resourceType=topic", None, 404, 404),
        ("GET", "/nonsense", None, 404, 404),
        ("PATCH", "/subjects", None, 405, 405),
    ],
)
def test_a_refusal(api: Api, user: int, method: str, path: str, body: Any, status: int, code: int) -> None:
    answer = call(api, method, path, body)

    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == MEDIA_TYPE
    assert answer.json()["error_code"] == code
    assert answer.json()["message"]


@pytest.mark.parametrize(
    "name", ["a%00b", "a%01b", "a%0Ab", "a%0A", "%0D", "a%7F", "a%C2%85b", ":.ctx:user", ":.:user", ":."]
)
def test_a_name_that_is_no_subjects(api: Api, user: int, name: str) -> None:
    """Each call refused some of them, answered others with 404 in HTML, and took the rest."""
    calls = [
        ("GET", f"/subjects/{name}/versions", None),
        ("GET", f"/subjects/{name}/versions/latest", None),
        ("GET", f"/subjects/{name}/versions/1/schema", None),
        ("GET", f"/subjects/{name}/versions/1/referencedby", None),
        ("POST", f"/subjects/{name}/versions", schema(USER)),
        ("POST", f"/subjects/{name}", schema(USER)),
        ("DELETE", f"/subjects/{name}", None),
        ("DELETE", f"/subjects/{name}/versions/1", None),
        ("POST", f"/compatibility/subjects/{name}/versions/latest", schema(USER)),
        ("POST", f"/compatibility/subjects/{name}/versions", schema(USER)),
        ("GET", f"/config/{name}", None),
        ("PUT", f"/config/{name}", {"compatibility": "NONE"}),
        ("DELETE", f"/config/{name}", None),
        ("GET", f"/mode/{name}", None),
        ("PUT", f"/mode/{name}", {"mode": "READONLY"}),
        ("DELETE", f"/mode/{name}", None),
    ]

    for method, path, body in calls:
        answer = call(api, method, path, body)
        assert (answer.status_code, answer["Content-Type"]) == (422, MEDIA_TYPE), (method, path)
        assert answer.json()["error_code"] == 42208
        assert "is not valid" in answer.json()["message"]
    reference = {"name": "User", "subject": unquote(name), "version": 1}
    answer = call(api, "POST", "/subjects/x/versions", schema("User", references=[reference]))
    assert answer.json()["error_code"] == 42208


def test_a_client_that_says_it_has_no_id_may_register(api: Api) -> None:
    """Java's clients send -1 and 0 for what they have not."""
    answer = call(api, "POST", "/subjects/user/versions", schema(USER, id=-1, version=0))
    assert answer.status_code == 200

    other = call(api, "POST", "/subjects/user", schema(USER, id=answer.json()["id"], version=1))
    assert other.json()["version"] == 1


def test_a_refused_setting_says_which_and_changes_nothing(api: Api, user: int) -> None:
    answer = call(api, "PUT", "/config/user", {"compatibility": "FULL", "alias": "other"})

    assert "alias is not supported" in answer.json()["message"]
    assert call(api, "GET", "/config/user").json()["error_code"] == 40408


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("http://registry:8081", "http://registry:8081"),
        ("https://me:secret@registry:8081/x?token=secret", "https://registry:8081/x"),
        ("http://a:1,http://me:secret@b:2", "http://a:1, http://b:2"),
    ],
)
def test_it_is_not_served_beside_another_registry(api: Api, user: int, settings: Any, url: str, named: str) -> None:
    """What was registered here was used by nobody."""
    settings.SCHEMA_REGISTRY_URL = url

    for method, path, body in (
        ("GET", "", None),
        ("GET", "/subjects", None),
        ("GET", f"/schemas/ids/{user}", None),
        ("POST", "/subjects/user/versions", schema(CITY)),
        ("PUT", "/config", {"compatibility": "NONE"}),
        ("DELETE", "/subjects/user", None),
    ):
        answer = call(api, method, path, body)
        assert (answer.status_code, answer["Content-Type"]) == (404, MEDIA_TYPE)
        assert answer.json()["error_code"] == 404
        assert f"schema registry at {named};" in answer.json()["message"]
        assert "secret" not in answer.content.decode()
    assert call(api, "GET", "/nonsense").status_code == 404
    assert "registry" not in api.get("/").json()["links"]
    settings.TAKHIN_REQUIRE_API_KEY = True
    assert call(api, "GET", "/subjects").status_code == 401


def test_where_a_schema_is_used(api: Api, user: int) -> None:
    call(api, "POST", "/subjects/other/versions", schema(USER))
    call(api, "DELETE", "/subjects/other")

    def shown(path: str) -> Any:
        return call(api, "GET", f"/schemas/ids/{user}/{path}").json()

    assert shown("subjects") == ["user"]
    assert shown("subjects?deleted=true") == ["other", "user"]
    assert shown("versions") == [{"subject": "user", "version": 1}]
    assert shown("schema") == USER


def test_what_is_soft_deleted_already_says_so(api: Api, user: int) -> None:
    call(api, "POST", "/subjects/user/versions", schema(CITY))
    call(api, "DELETE", "/subjects/user/versions/1")

    assert call(api, "DELETE", "/subjects/user/versions/1").json()["error_code"] == 40406
    assert call(api, "GET", "/subjects/user/versions/1").json()["error_code"] == 40402
    assert call(api, "GET", "/subjects/user/versions/1?deleted=true").json()["id"] == user
    call(api, "DELETE", "/subjects/user")
    assert call(api, "DELETE", "/subjects/user").json()["error_code"] == 40404
    assert call(api, "DELETE", "/subjects/user?permanent=true").json() == [1, 2]


def test_settings_of_a_subject_come_and_go(api: Api, user: int) -> None:
    call(api, "PUT", "/config/user", {"compatibility": "FULL"})
    call(api, "PUT", "/mode/user", {"mode": "READONLY"})

    assert call(api, "GET", "/config/user").json() == {"compatibilityLevel": "FULL"}
    assert call(api, "DELETE", "/config/user").json() == {"compatibilityLevel": "FULL"}
    assert call(api, "GET", "/config/user").json()["error_code"] == 40408
    assert call(api, "GET", "/mode/user").json() == {"mode": "READONLY"}
    assert call(api, "DELETE", "/mode/user").json() == {"mode": "READONLY"}
    assert call(api, "GET", "/mode/user?defaultToGlobal=true").json() == {"mode": "READWRITE"}


def test_media_types(api: Api) -> None:
    assert call(api, "GET", "/subjects", Accept="application/vnd.schemaregistry.v2+json").status_code == 406
    assert call(api, "GET", "/subjects", Accept="text/html,*/*;q=0.8").status_code == 200
    html = api.client.post("/registry/subjects/user/versions", json.dumps(schema(USER)), content_type="text/html")
    assert html.status_code == 415
    for media in ("application/json", "application/octet-stream", "application/x-www-form-urlencoded"):
        answer = api.client.post("/registry/subjects/user/versions", json.dumps(schema(USER)), content_type=media)
        assert answer.status_code == 200, media


def test_equal_schemas_are_one_however_they_are_written(api: Api, user: int) -> None:
    spelt_out = {"fields": [{"type": {"type": "string"}, "name": "name"}], "name": "User", "type": "record"}

    for normalize in ("false", "True"):
        answer = call(api, "POST", f"/subjects/user/versions?normalize={normalize}", schema(spelt_out))
        assert answer.json() == {"id": user}
    looked_up = call(api, "POST", "/subjects/user?normalize=true", schema(spelt_out, schemaType="AVRO"))
    assert looked_up.json()["version"] == 1


def test_a_normalized_schema_is_stored_in_canonical_order(api: Api) -> None:
    spelt_out = {"fields": [{"type": {"type": "string"}, "name": "name"}], "name": "User", "type": "record"}

    call(api, "POST", "/subjects/user/versions?normalize=true", schema(spelt_out))

    text = call(api, "GET", "/subjects/user/versions/1").json()["schema"]
    assert json.loads(text) == {**spelt_out, "fields": [{"name": "name", "type": "string"}]}


def test_verbose_says_why(api: Api, user: int) -> None:
    answer = call(api, "POST", "/compatibility/subjects/user/versions/latest?verbose=true", schema(BAD))

    (message,) = answer.json()["messages"]
    assert "city" in message
    assert "version 1" in message


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        ("/subjects/user", {"Content-Encoding": "rot13"}, 415),
        ("/subjects/user", {"Content-Encoding": "gzip"}, 422),
        ("/subjects/user", {"Content-Type": "text/html"}, 415),
        ("/subjects/user?deleted=perhaps", {}, 400),
        ("/subjects/user", {"Content-Length": "many"}, 422),
    ],
)
def test_errors_that_every_api_shares_have_confluents_form(
    api: Api, user: int, path: str, headers: dict[str, str], code: int
) -> None:
    answer = call(api, "POST", path, schema(USER), **headers)

    assert answer["Content-Type"] == MEDIA_TYPE
    assert answer.status_code == code
    assert answer.json()["error_code"] == code


def test_a_body_too_large_is_413(api: Api, settings: Any) -> None:
    settings.TAKHIN_MAX_BODY_BYTES = 1000

    assert call(api, "POST", "/subjects/user/versions", {"schema": "x" * 2000}).status_code == 413


def test_read_only_refuses_what_is_new(api: Api, user: int) -> None:
    call(api, "PUT", "/mode", {"mode": "READONLY"})

    assert call(api, "POST", "/subjects/user/versions", schema(CITY)).json()["error_code"] == 42205
    assert call(api, "POST", "/subjects/user/versions", schema(USER)).json() == {"id": user}
    assert call(api, "DELETE", "/subjects/user").json()["error_code"] == 42205


def test_the_history_is_kept(api: Api, user: int) -> None:
    call(api, "PUT", "/config/user", {"compatibility": "FULL"})
    call(api, "DELETE", "/subjects/user")
    call(api, "DELETE", "/subjects/user?permanent=true")

    found = Change.objects.order_by("id").values_list("what", "subject", "version", "setting")
    assert list(found) == [
        ("registered", "user", 1, ""),
        ("level_set", "user", None, "FULL"),
        ("soft_deleted", "user", 1, ""),
        ("deleted", "user", 1, ""),
    ]
    assert call(api, "GET", f"/schemas/ids/{user}").status_code == 200


def test_concurrent_registrations_of_one_schema_give_one_version() -> None:
    def register(number: int) -> int:
        try:
            schema_id: int = call(Api(), "POST", "/subjects/user/versions", schema(USER)).json()["id"]
            return schema_id
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        ids = set(pool.map(register, range(64)))

    assert len(ids) == 1
    assert Schema.objects.count() == SubjectVersion.objects.count() == Change.objects.count() == 1


def test_concurrent_registrations_of_different_schemas_have_no_gap(api: Api) -> None:
    """On PostgreSQL rivals for one version's number were refused with 500 once there were more than a few."""
    call(api, "PUT", "/config", {"compatibility": "NONE"})
    ready = threading.Barrier(24)

    def register(number: int) -> int:
        ready.wait()
        try:
            body = schema({**USER, "name": f"User{number}"})
            status: int = call(Api(), "POST", "/subjects/user/versions", body).status_code
            return status
        finally:
            connections.close_all()

    with ThreadPoolExecutor(24) as pool:
        statuses = set(pool.map(register, range(24)))

    assert statuses == {200}
    assert call(api, "GET", "/subjects/user/versions").json() == list(range(1, 25))


def test_a_broken_database_is_503(api: Api, user: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE registry_subjectversion RENAME TO registry_gone")
    try:
        answers = [
            call(api, "GET", "/subjects/user/versions/1"),
            call(api, "POST", "/subjects/user/versions", schema(CITY)),
        ]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE registry_gone RENAME TO registry_subjectversion")

    for answer in answers:
        assert (answer.status_code, answer["Retry-After"]) == (503, "1")
        assert answer.json()["error_code"] == 50001
        assert answer.json()["message"].startswith(
            "Error in the backend data store: the database has no tables: run takhin migrate"
        )


@pytest.mark.no_database
def test_two_processes_register_at_once(tmp_path: Path) -> None:
    """The same schemas and different ones: every id means one schema, and the versions have no gap."""
    servers = [LiveServer(tmp_path / "data").start() for _ in range(2)]
    requests.put(f"{servers[0].url}/registry/config", json={"compatibility": "NONE"}, timeout=10)

    def register(number: int) -> tuple[int, int]:
        which = number // 4 % 12
        value = {**USER, "fields": [{"name": f"field{which}", "type": "string"}]}
        url = f"{servers[number % 2].url}/registry/subjects/user/versions"
        answer = requests.post(url, json=schema(value), timeout=30)
        assert answer.status_code == 200, answer.text
        return which, answer.json()["id"]

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(register, range(96)))
    versions = requests.get(f"{servers[0].url}/registry/subjects/user/versions", timeout=10).json()
    for server in servers:
        server.stop()

    assert len(found) == len({schema_id for _, schema_id in found}) == 12
    assert versions == list(range(1, 13))
