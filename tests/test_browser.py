"""Every screen in a real Chromium: it renders, nothing fails on it, and nothing comes from another host."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from devservers.takhin import LiveServer

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SCREENSHOTS = Path(__file__).parent / "screenshots"
SCREENS = {
    "index": "/admin/",
    "requests": "/admin/producer/producerequest/",
    "topics": "/admin/topics/topic/",
    "new-topic": "/admin/topics/topic/add/",
    "topic": "/admin/topics/topic/1/change/",
    "delete-topic": "/admin/topics/topic/1/delete/",
    "partitions": "/admin/topics/partition/",
    "batches": "/admin/topics/recordbatch/",
    "records": "/admin/topics/recordbatch/records/?topic=browsed",
    "keys": "/admin/producer/apikey/",
    "new-key": "/admin/producer/apikey/add/",
    "users": "/admin/auth/user/",
}
# On a log without tables here, where a topic's key is its name.
SCREENS_ELSEWHERE = {
    "elsewhere-index": "/admin/",
    "elsewhere-topics": "/admin/topics/topic/",
    "elsewhere-nothing-found": "/admin/topics/topic/?q=nowhere",
    "elsewhere-new-topic": "/admin/topics/topic/add/",
    "elsewhere-topic": "/admin/topics/topic/browsed/change/",
    "elsewhere-topic-history": "/admin/topics/topic/browsed/history/",
    "elsewhere-delete-topic": "/admin/topics/topic/browsed/delete/",
    "elsewhere-records": "/admin/topics/recordbatch/records/?topic=browsed",
}

pytestmark = [
    pytest.mark.external,
    pytest.mark.no_database,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]


class Screens:
    """One browser window that remembers what went wrong in it."""

    def __init__(self, browser: Browser, server: LiveServer, scheme: str = "light") -> None:
        self.server = server
        self.scheme = scheme
        context = browser.new_context(
            color_scheme="dark" if scheme == "dark" else "light", viewport={"width": 1400, "height": 900}
        )
        self.page: Page = context.new_page()
        self.troubles: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.troubles.append(f"{self.page.url}: {error}"))
        self.page.on("request", lambda request: self._on_request(request.url))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.troubles.append(f"{self.page.url}: {message.text} {message.location}")

    def _on_request(self, url: str) -> None:
        if not url.startswith((self.server.url, "data:", "blob:")):
            self.troubles.append(f"{self.page.url}: asked {url}")

    def open(self, path: str, name: str = "") -> Page:
        response = self.page.goto(self.server.url + path)
        assert response is not None
        assert response.status == 200, f"{path}: {response.status}"
        self.page.wait_for_load_state("networkidle")
        if name:
            self.shoot(name)
        return self.page

    def shoot(self, name: str) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}-{self.scheme}.png", full_page=True)

    def log_in(self) -> None:
        self.open("/admin/", "login")
        self.page.fill("[name=username]", "admin")
        self.page.fill("[name=password]", (self.server.folder / "admin-password").read_text().strip())
        self.page.click("button[type=submit]")
        self.page.wait_for_url(f"{self.server.url}/admin/")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("browser") / "data").start("--demo")
    _fill(server)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("elsewhere") / "data", TAKHIN_LOG="memory").start()
    _fill(server)
    yield server
    server.stop()


def _fill(server: LiveServer) -> None:
    """Records of every kind, one of them hostile."""
    server.create_topic("browsed")
    markup = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
    records = [
        {"key": markup, "value": {"price": 1, "html": markup}, "headers": [{"key": markup, "value": markup}]},
        {"key": None, "value": None, "timestamp": 2**62},
        {"value": "x" * 20_000, "headers": [{"key": "raw", "value": {"base64": "/wA="}}]},
        {"value": [1, 2, 3], "partition": 99},
    ]
    server.produce("browsed", records, compression="zstd")
    server.produce("browsed", [{"value": number, "partition": 0} for number in range(60)])
    server.produce("browsed", [{"value": 1, "partition": 99}])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_screen_of_the_admin_renders(browser: Browser, server: LiveServer, scheme: str) -> None:
    _render(Screens(browser, server, scheme), SCREENS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_screen_of_a_log_elsewhere_renders(browser: Browser, elsewhere: LiveServer, scheme: str) -> None:
    _render(Screens(browser, elsewhere, scheme), SCREENS_ELSEWHERE)


def _render(screens: Screens, paths: dict[str, str]) -> None:
    screens.log_in()

    for name, path in paths.items():
        page = screens.open(path, name)
        expect(page.get_by_role("link", name="Record browser").first).to_be_visible()
        assert page.title().endswith("Takhin HTTP Producer"), name
        assert "owned" not in page.title(), name

    assert screens.troubles == []


def test_the_way_from_a_request_to_its_record(browser: Browser, server: LiveServer) -> None:
    screens = Screens(browser, server)
    screens.log_in()
    page = screens.open("/admin/producer/producerequest/?topic=browsed")
    page.locator("#result_list tbody tr", has_text="Partly").locator("th a, td a").first.click()
    expect(page.get_by_text("Only 3 of 4 records were written")).to_be_visible()
    screens.shoot("request")

    page.locator(".takhin-table a").first.click()

    expect(page.locator("tr[id^=offset-]").first).to_be_visible()
    screens.shoot("record")
    assert "owned" not in page.title()
    assert screens.troubles == []


def test_records_are_paged_both_ways(browser: Browser, server: LiveServer) -> None:
    screens = Screens(browser, server)
    screens.log_in()
    page = screens.open("/admin/topics/recordbatch/records/")
    page.select_option("[name=topic]", "browsed")
    expect(page.get_by_role("link", name="Older").first).to_be_visible()
    newest = page.locator("tr[id^=offset-]").last.get_attribute("id")

    page.get_by_role("link", name="Older").first.click()
    expect(page.locator(f"#{newest}")).to_have_count(0)
    page.get_by_role("link", name="Newer").first.click()
    expect(page.locator(f"#{newest}")).to_have_count(1)

    assert screens.troubles == []


def test_filters_open_and_apply(browser: Browser, server: LiveServer) -> None:
    screens = Screens(browser, server)
    screens.log_in()
    page = screens.open("/admin/producer/producerequest/")
    page.locator("a", has_text="Filters").first.click()
    page.wait_for_timeout(300)
    screens.shoot("filters")
    page.locator("#changelist-filter select[name=status]").evaluate("select => { select.value = 'failed' }")
    page.get_by_role("button", name="Apply Filters").click()
    page.wait_for_url(re.compile("status=failed"))

    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    assert screens.troubles == []


def test_a_topic_and_a_key_are_made_by_hand(browser: Browser, server: LiveServer) -> None:
    screens = Screens(browser, server)
    screens.log_in()
    page = screens.open("/admin/topics/topic/add/")
    page.fill("[name=name]", "by-hand")
    page.fill("[name=partitions]", "2")
    page.click("[name=_save]")
    expect(page.get_by_text("was added successfully")).to_be_visible()
    assert server.http.get(f"{server.url}/api/topics/by-hand", timeout=10).json()["partitionCount"] == 2

    page = screens.open("/admin/producer/apikey/add/")
    page.fill("[name=name]", "by hand")
    page.get_by_label("Produce records").check()
    page.fill("[name=topics]", "by-hand")
    page.click("[name=_save]")
    expect(page.locator("#secret")).to_contain_text("tk_")
    screens.shoot("secret")
    page.get_by_role("link", name="I have copied it").click()
    page.get_by_role("checkbox").last.check()
    page.select_option("[name=action]", "revoke")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text("1 key revoked")).to_be_visible()
    screens.shoot("revoked")
    assert screens.troubles == []


def test_a_topic_elsewhere_lives_and_dies_by_hand(browser: Browser, elsewhere: LiveServer) -> None:
    screens = Screens(browser, elsewhere)
    screens.log_in()
    page = screens.open("/admin/topics/topic/")
    page.locator("a[href$='/topic/add/']").first.click()
    page.fill("[name=name]", "browsed")
    page.click("[name=_save]")
    expect(page.get_by_text("topic 'browsed' already exists")).to_be_visible()
    screens.shoot("elsewhere-refused")
    page.fill("[name=name]", "by_hand")
    page.fill("[name=retention_ms]", "86400000")
    page.click("[name=_save]")
    expect(page.get_by_text("was added successfully")).to_be_visible()
    expect(page.get_by_text("1 day")).to_be_visible()

    page.locator("#result_list").get_by_role("link", name="by_hand").click()
    page.fill("[name=retention_ms]", "60000")
    page.click("[name=_continue]")
    expect(page.get_by_text("was changed successfully")).to_be_visible()
    assert elsewhere.http.get(f"{elsewhere.url}/api/topics/by_hand", timeout=10).json()["retentionMs"] == 60_000

    page.get_by_role("link", name="Delete topic").click()
    page.fill("[name=name]", "by_hand")
    page.get_by_role("button", name="Delete by_hand").click()
    expect(page.get_by_text("was deleted successfully")).to_be_visible()
    assert elsewhere.http.get(f"{elsewhere.url}/api/topics/by_hand", timeout=10).status_code == 404
    assert screens.troubles == []


def test_a_locked_out_login_says_so(browser: Browser, server: LiveServer) -> None:
    screens = Screens(browser, server)
    page = screens.open("/admin/login/")
    for _ in range(6):
        page.fill("[name=username]", "nobody")
        page.fill("[name=password]", "wrong")
        page.click("button[type=submit]")
        page.wait_for_load_state("networkidle")

    expect(page.get_by_text("Too many failed logins for this user from this address")).to_be_visible()
    screens.shoot("locked-out")
    # The browser itself reports the last two answers, which are 429.
    assert all("429" in trouble for trouble in screens.troubles)


def test_two_versions_are_chosen_and_compared(browser: Browser, server: LiveServer) -> None:
    """The choices that submit their form once did so by a script inside the page, which browsers now refuse."""
    for fields in ("[]", '[{"name":"f","type":"int","default":0}]'):
        schema = f'{{"type":"record","name":"r","fields":{fields}}}'
        answer = server.http.post(
            f"{server.url}/registry/subjects/browsed-value/versions", json={"schema": schema}, timeout=10
        )
        assert answer.status_code == 200, answer.text
    screens = Screens(browser, server)
    screens.log_in()
    page = screens.open("/admin/registry/subjectversion/subject/?subject=browsed-value&left=1&right=1")
    page.select_option("select[name=left]", "2")
    page.wait_for_url(re.compile("left=2"))

    expect(page.locator("select[name=left]")).to_have_value("2")
    screens.shoot("subject")
    assert screens.troubles == []


def test_no_script_inside_a_page_runs(browser: Browser, server: LiveServer) -> None:
    screens = Screens(browser, server)
    screens.log_in()
    for path in ("/admin/", "/swagger/", "/redoc/"):
        page = screens.open(path)
        page.evaluate(
            """() => {
                const script = document.createElement("script");
                script.textContent = "document.title = 'owned'";
                document.body.append(script);
                document.body.setAttribute("onclick", "document.title = 'owned'");
                document.body.click();
            }"""
        )
        assert page.title() != "owned"
    assert len(screens.troubles) == 6
    assert all("Content Security Policy" in trouble for trouble in screens.troubles)


def test_no_page_is_shown_inside_another(browser: Browser, server: LiveServer) -> None:
    screens = Screens(browser, server)
    page = screens.page
    frames = "".join(f'<iframe src="{server.url}{path}"></iframe>' for path in ("/swagger/", "/redoc/", "/admin/", "/"))
    page.set_content(frames)

    for frame in page.frames[1:]:
        frame.wait_for_url("chrome-error://chromewebdata/")
    assert len(page.frames) == 5


def test_swagger_forgets_a_key_with_its_page(browser: Browser, server: LiveServer) -> None:
    screens = Screens(browser, server)
    page = screens.open("/swagger/")
    page.get_by_role("button", name="Authorize").first.click()
    page.locator(".auth-container input").first.fill("tk_a_secret_key")
    page.get_by_role("button", name="Apply credentials").first.click()
    expect(page.get_by_role("button", name="Remove authorization").first).to_be_visible()

    assert "tk_a_secret_key" not in page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
    page.reload()
    page.get_by_role("button", name="Authorize").first.click()
    expect(page.get_by_role("button", name="Apply credentials").first).to_be_visible()
    assert screens.troubles == []


def test_swagger_tries_out_a_request(browser: Browser, server: LiveServer) -> None:
    screens = Screens(browser, server)
    page = screens.open("/swagger/")
    expect(page.locator(".opblock").first).to_be_visible()
    screens.shoot("swagger")

    page.locator(".opblock-summary-get", has_text=re.compile(r"/api/topics$|/api/topics[^/{]")).first.click()
    page.get_by_role("button", name="Execute").first.click()

    expect(page.locator(".live-responses-table .response .response-col_status").first).to_contain_text("200")
    assert screens.troubles == []


def test_redoc_renders(browser: Browser, server: LiveServer) -> None:
    screens = Screens(browser, server)
    page = screens.open("/redoc/")

    expect(page.get_by_role("heading", name=re.compile("Takhin HTTP Producer")).first).to_be_visible()
    expect(page.get_by_text("/api/topics/{topic}/produce").first).to_be_attached()
    screens.shoot("redoc")
    assert screens.troubles == []
