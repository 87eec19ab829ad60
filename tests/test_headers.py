"""Every answer tells a browser what it may load and do, who may frame it, and that payloads are kept by no cache."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
from django.contrib.auth.models import User
from django.test import Client

from devservers import ROOT
from devservers.takhin import LiveServer
from tests.conftest import Api
from tests.test_configuration import manage

PRODUCTION = {
    "TAKHIN_HOST": "0.0.0.0",
    "TAKHIN_REQUIRE_API_KEY": "true",
    "TAKHIN_ALLOWED_HOSTS": "takhin.example.com",
    "TAKHIN_TRUSTED_ORIGINS": "https://takhin.example.com",
    # Of the tests, and refused in a deployment.
    "DJANGO_ALLOW_ASYNC_UNSAFE": "",
}
# Pages, JSON, redirects, static files and errors; of views, of middleware and of Django itself.
PATHS = [
    "/",
    "/api/topics",
    "/api/topics/orders",
    "/api/topics/orders/messages",
    "/api/topics/nowhere",
    "/api/nothing",
    "/api/health/live",
    "/registry/subjects",
    "/registry/nothing",
    "/openapi.json",
    "/swagger/",
    "/swagger/?script=",
    "/redoc/",
    "/nothing",
    "/admin",
    "/admin/",
    "/admin/login/",
    "/admin/nothing/",
    "/admin/producer/apikey/?q=%00",
    "/static/takhin/icon.svg",
    "/static/nothing.js",
]


def directives(answer: Any) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in answer["Content-Security-Policy"].split(";"))
    return {name: sources for name, _, sources in parts}


@pytest.fixture
def admin() -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("admin", password="correct horse battery"))
    return client


def test_it_works(api: Api) -> None:
    assert api.get("/api/topics")["Content-Security-Policy"] == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_answer_has_them(api: Api, topic: str, path: str, method: str) -> None:
    answer = api.client.generic(method, path)

    assert directives(answer)["default-src"] == "'none'"
    assert directives(answer)["frame-ancestors"] == "'none'"
    assert directives(answer)["base-uri"] == "'none'"
    assert "'unsafe-inline'" not in directives(answer).get("script-src", "")
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["X-Content-Type-Options"] == "nosniff"
    answer.close()


def test_a_refused_host_has_them_too(api: Api) -> None:
    answer = api.get("/api/topics", Host="evil.example")

    assert answer.status_code == 400
    assert directives(answer)["default-src"] == "'none'"
    assert answer["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/api/topics", "/registry/subjects", "/admin/"])
def test_a_refused_host_is_told_what_would_allow_it(api: Api, path: str) -> None:
    answer = api.get(path, Host="evil.example:8080")

    assert answer.status_code == 400
    words = "Host 'evil.example:8080' is not in TAKHIN_ALLOWED_HOSTS"
    assert words in answer.content.decode()


@pytest.mark.no_database
def test_what_the_server_answers_without_the_application_has_them_too(live: LiveServer) -> None:
    answer = requests.get(f"{live.url}/{'x' * 100_000}", timeout=10)

    assert answer.status_code in (400, 414, 431)
    assert directives(answer.headers)["default-src"] == "'none'"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"


def test_an_error_has_them_too(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("takhin_site.pages.JsonResponse", None)
    answer = api.get("/")

    assert answer.status_code == 500
    assert directives(answer)["default-src"] == "'none'"


def test_a_post_to_no_endpoint_is_404_without_a_token_for_forms(api: Api) -> None:
    for path in ("/api/nothing", "/registry/nothing", "/nothing"):
        client = Client(enforce_csrf_checks=True)
        assert client.post(path, b"{}", content_type="application/json").status_code == 404, path


@pytest.mark.parametrize(
    "path",
    ["/", "/api/topics", "/api/topics/orders/messages", "/api/topics/nowhere", "/registry/subjects", "/swagger/"],
)
def test_nothing_that_may_be_a_payload_is_kept_by_a_cache(api: Api, topic: str, path: str) -> None:
    assert "no-store" in api.get(path)["Cache-Control"]


def test_what_was_produced_is_kept_by_no_cache(api: Api, topic: str) -> None:
    written = api.produce(topic, [{"value": 1}])
    accepted = api.produce(topic, [{"value": 1}], async_="true")
    status = api.get(accepted["Location"])

    for answer in (written, accepted, status):
        assert answer["Cache-Control"] == "no-store"


def test_no_page_of_the_admin_is_kept_by_a_cache(api: Api, topic: str, admin: Client) -> None:
    api.produce(topic, [{"value": 1, "partition": 9}])
    for path in ("", "producer/producerequest/", "topics/recordbatch/records/?topic=orders", "auth/user/"):
        answer = admin.get(f"/admin/{path}")
        assert answer.status_code == 200
        assert "no-store" in answer["Cache-Control"], path
    answer = admin.post("/admin/producer/apikey/add/", {"name": "x", "scopes": ["read"], "topics": "*"})
    assert b"tk_" in answer.content
    assert "no-store" in answer["Cache-Control"]


def test_a_static_file_is_cached(api: Api) -> None:
    answer = api.get("/static/takhin/icon.svg")

    assert "no-store" not in answer["Cache-Control"]
    answer.close()


def test_keys_are_not_kept_in_the_browser(api: Api) -> None:
    script = api.get("/swagger/?script=").content.decode()

    assert "persistAuthorization" not in script
    assert '"validatorUrl": null' in script


# Behind TLS


@pytest.mark.no_database
@pytest.mark.parametrize("admin", ["true", "false"])
def test_the_deployment_check_is_clean(tmp_path: Path, admin: str) -> None:
    done = manage(tmp_path, "check", "--deploy", "--fail-level", "WARNING", **PRODUCTION, TAKHIN_ADMIN=admin)

    assert done.returncode == 0, done.stderr


ASK = """
from django.test import Client
client = Client(raise_request_exception=False)
ask = lambda path, **more: client.get(path, headers={"Host": "takhin.example.com", **more})
https = {"X-Forwarded-Proto": "https"}
for path in ("/api/health/live", "/admin/login/", "/static/takhin/icon.svg", "/nothing"):
    print(path, ask(path, **https).headers.get("Strict-Transport-Security"))
    print(path, ask(path).headers.get("Strict-Transport-Security"))
for path in ("/admin", "/admin/login/?next=/admin/"):
    print(path, ask(path).status_code, ask(path)["Location"])
for path in ("/api/health/live", "/api/nothing", "/swagger/", "/", "/administrator"):
    print(path, ask(path).status_code)
"""


@pytest.mark.no_database
def test_tls_is_promised_behind_tls_alone(tmp_path: Path) -> None:
    assert manage(tmp_path, "migrate", **PRODUCTION).returncode == 0
    done = manage(tmp_path, "shell", "-v0", "-c", ASK, **PRODUCTION)

    assert done.returncode == 0, done.stderr
    paths = ("/api/health/live", "/admin/login/", "/static/takhin/icon.svg", "/nothing")
    promised = [line for path in paths for line in (f"{path} max-age=31536000", f"{path} None")]
    assert done.stdout.splitlines() == [
        *promised,
        "/admin 301 https://takhin.example.com/admin",
        "/admin/login/?next=/admin/ 301 https://takhin.example.com/admin/login/?next=/admin/",
        "/api/health/live 200",
        "/api/nothing 404",
        "/swagger/ 200",
        "/ 200",
        "/administrator 404",
    ]


@pytest.mark.no_database
def test_an_origin_without_tls_leaves_cookies_usable(tmp_path: Path) -> None:
    """Cookies marked as secure never came back to an admin whose trusted origin was http://."""
    code = "from django.conf import settings as s; print(s.SESSION_COOKIE_SECURE, s.SECURE_SSL_REDIRECT)"
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", code],
        cwd=ROOT,
        env={"PATH": "", "TAKHIN_DATA_DIR": str(tmp_path), "TAKHIN_TRUSTED_ORIGINS": "http://takhin.lan"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.split() == ["False", "False"]


# Names


@pytest.mark.parametrize("host", ["my_app", "takhin_takhin_1:8080", "MY_APP", "a_b.example.com", "_x", "takhin"])
@pytest.mark.parametrize("path", ["/api/topics", "/admin/login/", "/"])
def test_a_host_with_an_underscore_is_any_host(api: Api, settings: Any, host: str, path: str) -> None:
    """Compose names a service's host after its project, with underscores, which was 400."""
    settings.ALLOWED_HOSTS = ["*"]

    assert api.get(path, Host=host).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "my_app/x",
        "my app",
        "my_app:80:80",
        "my_app:x",
        "my_app@evil",
        "my_app\\",
        "my_äpp",
        "[::1_]",
        "a_b?",
        "a_b#",
        "-;_",
    ],
)
def test_an_odd_host_is_still_refused(api: Api, settings: Any, host: str) -> None:
    settings.ALLOWED_HOSTS = ["*"]

    for path in ("/api/topics", "/admin/login/"):
        assert api.client.get(path, HTTP_HOST=host).status_code == 400, path


def test_a_host_with_an_underscore_is_refused_where_others_are_named(api: Api, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["localhost", "my_app"]

    assert api.get("/api/topics", Host="evil_app").status_code == 400
    assert api.get("/api/topics", Host="my_app:8080").status_code == 200


def test_the_admin_takes_forms_under_such_a_name(admin: Client, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    client = Client(enforce_csrf_checks=True)
    headers = {"Host": "my_app:8080", "Origin": "http://my_app:8080"}
    page = client.get("/admin/login/", headers=headers)
    form = {"username": "admin", "password": "correct horse battery", "next": "/admin/"}

    answer = client.post("/admin/login/", {**form, "csrfmiddlewaretoken": page.context["csrf_token"]}, headers=headers)

    assert answer.status_code == 302
