"""Users sign in to the admin at an OpenID provider, which says what they may do."""

import base64
import itertools
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from devservers import free_port
from devservers.takhin import LiveServer
from tests.openid.hostile import OTHER_KEY, HostileProvider, jwt
from tests.test_configuration import manage

pytestmark = [
    pytest.mark.external,
    pytest.mark.no_database,
    pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm on this machine"),
]
PROVIDER = "oidc-provider@9.13.3"
SECRET = "a-secret-that-no-log-line-shows"
GROUPS = {
    "vera": ["viewers"],
    "olga": ["staff", "operators"],
    "ada": ["admins"],
    "nobody": ["staff"],
    "admin": ["viewers"],
}
ROLES = "viewers=Viewer,operators=Operator,admins=Admin"
START = "/admin/sso/"
SUBSCRIBERS = itertools.count(1)
PAYLOAD = "/admin/topics/recordbatch/records/?topic=orders"


def configured(folder: Path, issuer: str, **environment: str) -> LiveServer:
    return LiveServer(
        folder,
        TAKHIN_OIDC_ISSUER=issuer,
        TAKHIN_OIDC_CLIENT_ID="takhin",
        TAKHIN_OIDC_CLIENT_SECRET=SECRET,
        TAKHIN_OIDC_ROLES=ROLES,
        **environment,
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server beside a real provider."""
    folder = tmp_path_factory.mktemp("openid")
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", PROVIDER]
    subprocess.run(install, cwd=folder, check=True, timeout=120)
    shutil.copy(Path(__file__).parent / "openid" / "provider.mjs", folder)
    port = free_port()
    server = configured(folder / "data", f"http://127.0.0.1:{port}")
    environment = {"PORT": str(port), "CALLBACK": f"{server.url}{START}callback/", "SECRET": SECRET}
    provider = subprocess.Popen(
        ["node", "provider.mjs"],
        cwd=folder,
        env={**os.environ, **environment, "GROUPS": json.dumps(GROUPS)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert provider.stdout is not None
    assert provider.stdout.readline() == "listening\n"
    server.start()
    server.create_topic("orders")
    yield server
    server.stop()
    with provider:
        provider.kill()


def sign_in(server: LiveServer, name: str, where: str = START) -> tuple[requests.Session, requests.Response]:
    """Follow the provider's pages as a browser does, with its login and its question for consent."""
    browser = requests.Session()
    page = browser.get(server.url + where, timeout=30)
    while "/interaction/" in page.url:
        form = re.search(r'<form[^>]* action="([^"]+)"', page.text)
        prompt = re.search(r'name="prompt" value="(\w+)"', page.text)
        assert form, page.text
        assert prompt, page.text
        page = browser.post(form[1], {"prompt": prompt[1], "login": name, "password": "any"}, timeout=30)
    assert "/auth/" not in page.url, page.text
    return browser, page


def entries(server: LiveServer, event: str) -> str:
    """The lines of the log with this event."""
    return "\n".join(line for line in server.log.read_text().splitlines() if event in line)


def test_the_login_page_offers_it(server: LiveServer) -> None:
    page = requests.get(f"{server.url}/admin/login/?next=/admin/topics/topic/", timeout=30)

    assert re.search(r'href="/admin/sso/\?next=(/|%2F)admin(/|%2F)topics(/|%2F)topic(/|%2F)"', page.text)


@pytest.mark.parametrize(
    ("name", "status", "payload"), [("vera", 200, 403), ("olga", 200, 200), ("ada", 200, 200)], ids=["V", "O", "A"]
)
def test_roles_come_from_the_provider(server: LiveServer, name: str, status: int, payload: int) -> None:
    browser, page = sign_in(server, name)

    assert page.url == f"{server.url}/admin/"
    assert page.status_code == status
    assert browser.get(server.url + PAYLOAD, timeout=30).status_code == payload
    assert browser.get(f"{server.url}/admin/auth/user/", timeout=30).status_code == (200 if name == "ada" else 403)
    assert f'"user":"{name}"' in entries(server, "roles_assigned")


def test_it_leads_to_the_page_that_was_wanted(server: LiveServer) -> None:
    _, page = sign_in(server, "olga", f"{START}?next=/admin/topics/topic/")

    assert page.url == f"{server.url}/admin/topics/topic/"


@pytest.mark.parametrize("next_", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "/" + "x" * 5000])
def test_it_leads_nowhere_else(server: LiveServer, next_: str) -> None:
    _, page = sign_in(server, "olga", f"{START}?next={next_}")

    assert page.url == f"{server.url}/admin/"


def test_without_a_role_nobody_gets_in(server: LiveServer) -> None:
    browser, page = sign_in(server, "nobody")

    assert page.status_code == 403
    assert "nobody has no role here: TAKHIN_OIDC_ROLES maps nothing that is in the claim groups." in page.text
    assert "/admin/login/" in browser.get(f"{server.url}/admin/", timeout=30).url
    assert '"outcome":"refused"' in entries(server, "login_failed")


def test_the_provider_cannot_name_an_existing_user(server: LiveServer) -> None:
    browser, page = sign_in(server, "admin")

    assert page.status_code == 200
    assert "admin-2" in page.text
    assert browser.get(f"{server.url}/admin/auth/user/", timeout=30).status_code == 403


def users(server: LiveServer) -> str:
    code = "print([(u.username, u.has_usable_password(), u.is_superuser) for u in User.objects.all()])"
    return server.manage("shell", "-c", f"from django.contrib.auth.models import User; {code}")


def test_the_same_person_stays_the_same_user(server: LiveServer) -> None:
    for _ in range(2):
        sign_in(server, "vera")

    assert users(server).count("'vera") == 1


def test_passwords_still_work_and_users_of_the_provider_have_none(server: LiveServer) -> None:
    sign_in(server, "olga")

    assert "('admin', True, True)" in users(server)
    assert "('olga', False, False)" in users(server)


def test_secrets_are_in_no_log(server: LiveServer) -> None:
    sign_in(server, "olga")

    code = "from core.models import AuditEntry; print([e.details for e in AuditEntry.objects.all()])"
    audited = server.manage("shell", "-c", code)
    assert "TAKHIN_OIDC_ISSUER" in audited
    assert "TAKHIN_OIDC_ROLES" in audited
    assert "ALLOWED_HOSTS" in audited
    assert SECRET not in audited
    assert SECRET not in server.log.read_text()


@pytest.fixture(scope="module")
def provider() -> Iterator[HostileProvider]:
    provider = HostileProvider()
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def _beside(provider: HostileProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = configured(
        tmp_path_factory.mktemp("hostile") / "data",
        provider.url,
        TAKHIN_THREADS="8",
        TAKHIN_TRUSTED_PROXIES="127.0.0.1",
    ).start()
    yield server
    server.stop()


@pytest.fixture
def beside(provider: HostileProvider, _beside: LiveServer) -> LiveServer:
    """A server beside a provider that has not changed anything yet."""
    provider.reset()
    return _beside


def begin(server: LiveServer, provider: HostileProvider) -> tuple[requests.Session, str]:
    """Return a browser that has begun to sign in, and its state."""
    browser = requests.Session()
    # An address of its own, because one that fails too often is throttled.
    browser.headers["X-Forwarded-For"] = f"2001:db8:{next(SUBSCRIBERS):x}::1"
    answer = browser.get(server.url + START, allow_redirects=False, timeout=30)
    assert answer.status_code == 302, answer.text
    query = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert query["code_challenge_method"] == ["S256"]
    assert query["redirect_uri"] == [f"{server.url}{START}callback/"]
    provider.nonce = query["nonce"][0]
    return browser, query["state"][0]


def finish(server: LiveServer, browser: requests.Session, **query: str) -> requests.Response:
    return browser.get(f"{server.url}{START}callback/", params=query, allow_redirects=False, timeout=60)


def signed_in(browser: requests.Session) -> bool:
    return "sessionid" in browser.cookies


def unsigned(claims: dict[str, Any]) -> str:
    parts = [{"alg": "none"}, claims]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."


def test_a_right_token_is_accepted(beside: LiveServer, provider: HostileProvider) -> None:
    browser, state = begin(beside, provider)

    assert finish(beside, browser, state=state, code="x").status_code == 302
    assert signed_in(browser)


Change = Callable[[HostileProvider], None]


def claims(**changed: Any) -> Change:
    def change(provider: HostileProvider) -> None:
        provider.claims = lambda right: {name: value for name, value in {**right, **changed}.items() if value != "gone"}

    return change


def attribute(name: str, value: Any) -> Change:
    return lambda provider: setattr(provider, name, value)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(claims(nonce="of another attempt"), id="nonce"),
        pytest.param(claims(nonce="gone"), id="no nonce"),
        pytest.param(claims(aud="another"), id="audience"),
        pytest.param(claims(aud="another", azp="takhin"), id="audience that is only authorized"),
        pytest.param(claims(aud="gone"), id="no audience"),
        pytest.param(claims(iss="https://evil.example"), id="issuer"),
        pytest.param(claims(iss="gone"), id="no issuer"),
        pytest.param(claims(exp=1), id="expired"),
        pytest.param(claims(sub="gone"), id="no subject"),
        pytest.param(claims(sub=""), id="empty subject"),
        pytest.param(claims(sub="x" * 256), id="long subject"),
        pytest.param(claims(sub="x\0"), id="null in the subject"),
        pytest.param(claims(sub={"a": 1}), id="subject that is an object"),
        pytest.param(attribute("sign", unsigned), id="not signed"),
        pytest.param(
            attribute("sign", lambda claims: jwt.encode({"alg": "RS256", "kid": "known"}, claims, OTHER_KEY)),
            id="signed by somebody else",
        ),
        pytest.param(attribute("sign", lambda claims: "no.token"), id="no token"),
        pytest.param(attribute("token", lambda token: {"access_token": "x", "token_type": "Bearer"}), id="no ID token"),
        pytest.param(attribute("token", lambda token: []), id="a list"),
        pytest.param(attribute("token", lambda token: b"<html>"), id="HTML"),
        pytest.param(attribute("userinfo", {"sub": "somebody else"}), id="user info of somebody else"),
        pytest.param(attribute("token_status", 500), id="server error"),
    ],
)
def test_a_wrong_token_is_not(beside: LiveServer, provider: HostileProvider, change: Change) -> None:
    browser, state = begin(beside, provider)
    change(provider)

    answer = finish(beside, browser, state=state, code="x")

    assert answer.status_code == 502, answer.text
    assert not signed_in(browser)
    assert provider.url in answer.text
    assert "Traceback" not in beside.log.read_text()


@pytest.mark.parametrize(
    "groups", ["gone", [], "staff", {"operators": 1}, [["operators"]], [None, 1], "operators,staff", 5]
)
def test_odd_groups_give_no_role(beside: LiveServer, provider: HostileProvider, groups: Any) -> None:
    browser, state = begin(beside, provider)
    claims(groups=groups)(provider)

    assert finish(beside, browser, state=state, code="x").status_code == 403
    assert not signed_in(browser)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<script>", "_script_"),
        ("x" * 500, "x" * 140),
        ("ADMIN", "ADMIN-2"),
        ("ü b@c", "ü_b@c"),
        (["a"], "__a__"),
        ("\0", "_"),
    ],
)
def test_odd_names_become_usernames(beside: LiveServer, provider: HostileProvider, name: Any, shown: str) -> None:
    browser, state = begin(beside, provider)
    claims(preferred_username=name, sub=f"subject of {ascii(name)[:20]}")(provider)

    provider.userinfo = {}
    assert finish(beside, browser, state=state, code="x").status_code == 302
    assert f'"user":"{shown}"' in entries(beside, "roles_assigned")


def test_roles_follow_the_provider(beside: LiveServer, provider: HostileProvider) -> None:
    """A session that is open loses them too."""
    for groups, payload in ((["operators"], 200), (["viewers"], 403), (["viewers", "operators"], 200)):
        browser, state = begin(beside, provider)
        claims(groups=groups)(provider)
        finish(beside, browser, state=state, code="x")
        assert browser.get(f"{beside.url}/admin/topics/recordbatch/", timeout=30).status_code == payload

    again, state = begin(beside, provider)
    claims(groups=[])(provider)
    assert finish(beside, again, state=state, code="x").status_code == 403
    assert not signed_in(again)
    assert browser.get(f"{beside.url}/admin/topics/recordbatch/", timeout=30).status_code == 403


def test_a_role_that_is_no_longer_mapped_is_lost(provider: HostileProvider, tmp_path: Path) -> None:
    provider.reset()
    claims(groups=["viewers", "operators"])(provider)
    server = configured(tmp_path / "data", provider.url)
    for roles, payload in ((ROLES, 200), ("viewers=Viewer", 403)):
        server.environment["TAKHIN_OIDC_ROLES"] = roles
        server.start()
        try:
            browser, state = begin(server, provider)
            finish(server, browser, state=state, code="x")
            assert browser.get(f"{server.url}/admin/topics/recordbatch/", timeout=30).status_code == payload
        finally:
            server.stop()


def test_who_is_deactivated_here_does_not_get_in(beside: LiveServer, provider: HostileProvider) -> None:
    for status in (302, 403):
        browser, state = begin(beside, provider)
        provider.userinfo = {}
        claims(sub="leaver", preferred_username="leaver")(provider)
        assert finish(beside, browser, state=state, code="x").status_code == status
        code = "User.objects.filter(username='leaver').update(is_active=False)"
        beside.manage("shell", "-c", f"from django.contrib.auth.models import User; {code}")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"code": "x"}, "another attempt"),
        ({"code": "x", "state": "wrong"}, "another attempt"),
        ({"state": "right"}, "has no code"),
        ({"state": "right", "error": "access_denied"}, "did not sign you in: access_denied"),
        ({"state": "right", "error": "x", "error_description": "<b>Denied"}, "did not sign you in: &lt;b&gt;Denied"),
    ],
)
def test_a_wrong_response_is_refused(
    beside: LiveServer, provider: HostileProvider, query: dict[str, str], reason: str
) -> None:
    browser, state = begin(beside, provider)

    answer = finish(beside, browser, **{**query, **({"state": state} if query.get("state") == "right" else {})})

    assert answer.status_code in (400, 403)
    assert reason in answer.text
    assert not signed_in(browser)
    assert "/token" not in provider.requests


def test_a_response_is_only_for_the_browser_that_began(beside: LiveServer, provider: HostileProvider) -> None:
    _, state = begin(beside, provider)

    answer = finish(beside, requests.Session(), state=state, code="x")

    assert answer.status_code == 400
    assert "has not begun to sign in" in answer.text


def test_a_rejected_code_is_a_failed_login(beside: LiveServer, provider: HostileProvider) -> None:
    browser, state = begin(beside, provider)
    provider.token_status = 400
    provider.token = lambda token: {"error": "invalid_grant", "error_description": "no such code"}

    answer = finish(beside, browser, state=state, code="guessed")

    assert answer.status_code == 403
    assert "no such code" in answer.text


def test_a_silent_provider_does_not_stop_the_server(beside: LiveServer, provider: HostileProvider) -> None:
    """A quarter of the threads may wait for it."""
    browser, state = begin(beside, provider)
    provider.delay = 2.0
    statuses: list[int] = []

    def visit() -> None:
        statuses.append(finish(beside, browser, state=state, code="x").status_code)

    threads = [threading.Thread(target=visit) for _ in range(8)]
    for thread in threads:
        thread.start()
    while len(statuses) < 6:
        time.sleep(0.01)
        assert requests.get(f"{beside.url}/api/topics", timeout=30).status_code == 200
    assert statuses == [503] * 6
    for thread in threads:
        thread.join()
    assert sorted(statuses[6:]) == [302, 302]


def test_guesses_are_throttled(provider: HostileProvider, tmp_path: Path) -> None:
    provider.reset()
    server = configured(tmp_path / "data", provider.url).start()
    try:
        for _ in range(20):
            answer = requests.get(f"{server.url}{START}callback/?state=x&code=x", timeout=30)
            assert answer.status_code == 400
        answer = requests.get(f"{server.url}{START}callback/?state=x&code=x", timeout=30)
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) > 0
    finally:
        server.stop()


def test_what_is_at_the_address_must_be_the_provider(tmp_path: Path) -> None:
    provider = HostileProvider()
    provider.metadata = lambda right: {}
    server = configured(tmp_path / "data", provider.url).start()
    try:
        for metadata, reason in (
            ({}, "its issuer is None"),
            ({"issuer": "https://evil.example"}, "its issuer is &#x27;https://evil.example&#x27;"),
            ({"issuer": provider.url}, "has failed"),
            ([], "has failed"),
            (b"<html>", "has failed"),
        ):
            provider.metadata = lambda right, metadata=metadata: metadata
            answer = requests.get(server.url + START, timeout=30, allow_redirects=False)
            assert answer.status_code == 502
            assert reason in answer.text
        # Nothing wrong is kept.
        provider.reset()
        begin(server, provider)
    finally:
        server.stop()
        provider.stop()


def test_a_provider_that_is_away(tmp_path: Path) -> None:
    server = configured(tmp_path / "data", f"http://127.0.0.1:{free_port()}").start()
    try:
        assert requests.get(server.url + START, timeout=30).status_code == 502
        assert requests.get(f"{server.url}/admin/login/", timeout=30).status_code == 200
    finally:
        server.stop()


RIGHT = {
    "TAKHIN_OIDC_ISSUER": "https://login.example.com",
    "TAKHIN_OIDC_CLIENT_ID": "takhin",
    "TAKHIN_OIDC_ROLES": ROLES,
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"TAKHIN_OIDC_ISSUER": "http://login.example.com"}, "TAKHIN_OIDC_ISSUER must be an address with https"),
        ({"TAKHIN_OIDC_ISSUER": "login.example.com"}, "TAKHIN_OIDC_ISSUER must be an address with https"),
        (
            {"TAKHIN_OIDC_ISSUER": "https://u:secret@login.example.com"},
            "TAKHIN_OIDC_ISSUER must be an address with https",
        ),
        (
            {"TAKHIN_OIDC_ISSUER": "https://login.example.com/.well-known/openid-configuration"},
            "TAKHIN_OIDC_ISSUER must be the issuer's address, without",
        ),
        ({"TAKHIN_OIDC_ISSUER": ""}, "Single sign-on needs TAKHIN_OIDC_ISSUER"),
        ({"TAKHIN_OIDC_CLIENT_ID": ""}, "Single sign-on needs TAKHIN_OIDC_ISSUER, TAKHIN_OIDC_CLIENT_ID and"),
        ({"TAKHIN_OIDC_ROLES": ""}, "Single sign-on needs TAKHIN_OIDC_ISSUER, TAKHIN_OIDC_CLIENT_ID and"),
        ({"TAKHIN_OIDC_SCOPES": "profile"}, "TAKHIN_OIDC_SCOPES must include openid"),
        ({"TAKHIN_OIDC_ROLES": "a=Viewer,a=Admin"}, "TAKHIN_OIDC_ROLES must be VALUE=ROLE, comma-separated"),
        ({"TAKHIN_OIDC_ROLES": "x=Root"}, "TAKHIN_OIDC_ROLES must be VALUE=ROLE, comma-separated"),
        ({"TAKHIN_OIDC_ROLES": "Admin"}, "TAKHIN_OIDC_ROLES must be VALUE=ROLE, comma-separated"),
    ],
)
def test_wrong_settings_stop_startup(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    done = manage(tmp_path, "check", **{**RIGHT, **changed})

    assert done.returncode != 0
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_right_settings_do_not(tmp_path: Path) -> None:
    assert manage(tmp_path, "check", **RIGHT).returncode == 0


def test_without_it_there_is_nothing(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data").start()
    try:
        assert "Single sign-on" not in requests.get(f"{server.url}/admin/login/", timeout=30).text
        assert requests.get(server.url + START, timeout=30).url.startswith(f"{server.url}/admin/login/")
    finally:
        server.stop()
