"""The admin is usable with a keyboard, on narrow screens, in the dark and with a screen reader, as axe-core judges."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from devservers.takhin import LiveServer
from tests.test_browser import CHROMIUM, Screens, browser

__all__ = ["browser"]
AXE = "axe-core@4.11.0"
pytestmark = [
    pytest.mark.external,
    pytest.mark.no_database,
    pytest.mark.skipif(CHROMIUM is None or shutil.which("npm") is None, reason="chromium or npm is missing"),
]
REQUESTS = "/admin/producer/producerequest/"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("console") / "data").start("--demo")
    for name in ("orders", "Payments.with-a-rather-long-name.dlq"):
        server.create_topic(name)
        value = {"n": 1, "text": "x" * 200}
        server.produce(name, [{"key": f"cust-{number}", "value": value} for number in range(30)])
        server.produce(name, [{"value": 1}, {"value": 1, "partition": 99}], **{"async": "true"})
        server.produce(name, [{"value": 1, "partition": 99}], **{"async": "true"})
    schema = json.dumps({"type": "record", "name": "Order", "fields": [{"name": "id", "type": "int"}]})
    requests.post(f"{server.url}/registry/subjects/orders-value/versions", json={"schema": schema}, timeout=10)
    headers = {"X-Request-Id": "order-4711"}
    requests.post(f"{server.url}/api/topics/nowhere/produce", json={"records": [{}]}, headers=headers, timeout=10)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def failed(server: LiveServer) -> str:
    accepted = server.produce("orders", [{"value": 1}, {"value": 1, "partition": 99}], **{"async": "true"}).json()
    requests.get(f"{server.url}/api/produce/status/{accepted['requestId']}?wait=20", timeout=30)
    return str(accepted["requestId"])


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("axe")
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", AXE], cwd=folder, check=True, timeout=120)
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


def screens(failed: str) -> dict[str, str]:
    detail = f"{REQUESTS}{failed.replace('_', '_5F')}/"
    return {
        "dashboard": "/admin/",
        "requests": REQUESTS,
        "request": f"{detail}change/",
        "retry": f"{detail}retry/",
        "failures": f"{REQUESTS}failures/",
        "produce": f"{REQUESTS}produce/?topic=orders",
        "records": "/admin/topics/recordbatch/records/?topic=orders",
        "topics": "/admin/topics/topic/",
        "topic": "/admin/topics/topic/2/change/",
        "delete": "/admin/topics/topic/2/delete/",
        "subjects": "/admin/registry/subjectversion/",
        "subject": "/admin/registry/subjectversion/subject/?subject=orders-value",
        "rejections": "/admin/core/rejection/",
        "audit": "/admin/core/auditentry/",
        "new-key": "/admin/producer/apikey/add/",
    }


def opened(browser: Browser, server: LiveServer, width: int, scheme: str) -> Screens:
    found = Screens(browser, server, scheme)
    found.page.set_viewport_size({"width": width, "height": 900})
    found.log_in()
    return found


def violations(page: Page, axe: str) -> list[str]:
    page.evaluate(axe)
    result: Any = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for one in result["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"][:3]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_reports_nothing_serious(browser: Browser, server: LiveServer, failed: str, axe: str, scheme: str) -> None:
    seen = opened(browser, server, 1440, scheme)

    found = {}
    for name, path in screens(failed).items():
        seen.page.goto(server.url + path, wait_until="load")
        found[name] = violations(seen.page, axe)

    assert {name: one for name, one in found.items() if one} == {}
    assert seen.troubles == []


def test_pages_fit_the_screen(browser: Browser, server: LiveServer, failed: str) -> None:
    seen = opened(browser, server, 1280, "light")

    wide = {}
    for name, path in screens(failed).items():
        # Later content does not change the layout.
        seen.page.goto(server.url + path, wait_until="domcontentloaded")
        for width in (1440, 1280, 390):
            seen.page.set_viewport_size({"width": width, "height": 900})
            most = seen.page.evaluate("document.scrollingElement.scrollWidth")
            if most > width:
                wide[name, width] = most
    assert wide == {}

    seen.page.set_viewport_size({"width": 1280, "height": 900})
    page = seen.open(REQUESTS)
    box = page.locator("#result_list thead th").last.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 1280
    expect(page.get_by_text("unknown_partition").first).to_be_visible()
    rows = seen.open("/admin/topics/recordbatch/records/?topic=orders").locator("tr[id^=offset-]")
    boxes = [rows.nth(number).bounding_box() for number in range(20)]
    assert all(box is not None and box["height"] <= 34 for box in boxes)


# What somebody with a mouse can use, and whether the focus was ever there. A group of radio buttons is one stop.
USABLE = """() => {
    const usable = document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary,"
        + "[onclick], [x-on\\\\:click], [\\\\@click], [role=button], [contenteditable=true]");
    const isShown = one => one.checkVisibility({visibilityProperty: true, opacityProperty: true})
        && one.getBoundingClientRect().width > 1 && !one.disabled && !one.closest("[inert]");
    const isWrapper = one => one.querySelector("a[href], button, input, select, textarea") !== null;
    const isPassed = one => one.type === "radio" && !one.checked;
    return [...usable].filter(one => isShown(one) && !isWrapper(one) && !isPassed(one));
}"""
WATCH = """() => {
    window.reached = new Set();
    window.unseen = [];
    document.addEventListener("focusin", event => {
        window.reached.add(event.target).add(event.target.outerHTML.slice(0, 200));
        const style = getComputedStyle(event.target);
        const isSeen = style.outlineStyle !== "none" || style.boxShadow !== "none";
        if (!isSeen) window.unseen.push(event.target.outerHTML.slice(0, 150));
    });
}"""
# Also by their text, because the dashboard replaces its elements.
UNREACHED = f"""() => {{
    const isReached = one => window.reached.has(one) || window.reached.has(one.outerHTML.slice(0, 200));
    return ({USABLE})().filter(one => !isReached(one)).map(one => one.outerHTML);
}}"""


def tabbed_through(page: Page) -> None:
    """Press Tab from the first link on, until the focus leaves the page."""
    page.evaluate(WATCH)
    page.evaluate("document.querySelector('a[href]').focus()")
    for _ in range(600):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            return
    raise AssertionError(f"{page.url}: the focus goes round in circles")


def test_everything_on_a_page_is_reached_with_the_keyboard(browser: Browser, server: LiveServer, failed: str) -> None:
    seen = opened(browser, server, 1440, "light")

    unreached, unseen = {}, {}
    for name, path in screens(failed).items():
        page = seen.open(path)
        tabbed_through(page)
        unreached[name] = page.evaluate(UNREACHED)
        unseen[name] = page.evaluate("() => window.unseen")

    assert {name: one for name, one in unreached.items() if one} == {}
    assert {name: one for name, one in unseen.items() if one} == {}


def test_the_failures_of_a_topic_are_retried_with_the_keyboard_alone(
    browser: Browser, server: LiveServer, failed: str
) -> None:
    seen = opened(browser, server, 1440, "light")
    page = seen.open(f"{REQUESTS}failures/")

    def press(name: str) -> None:
        for _ in range(200):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent").strip().startswith(name):
                with page.expect_navigation():
                    page.keyboard.press("Enter")
                return
        raise AssertionError(f"{name} was not reached")

    press("Retry all")
    press("Retry")

    expect(page.get_by_text("(100 %): done")).to_be_visible(timeout=20_000)
    assert "/bulkchange/" in page.url


def test_what_the_theme_lets_the_mouse_click_is_operated_with_the_keyboard(
    browser: Browser, server: LiveServer
) -> None:
    page = opened(browser, server, 1440, "light").open("/admin/")
    user = page.locator("[x-on\\:click='openUserLinks = !openUserLinks']")
    user.focus()

    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    page.keyboard.press(" ")
    expect(page.get_by_role("button", name="Log out")).to_be_hidden()


def search(page: Page, term: str) -> None:
    page.keyboard.press("Control+k")
    field = page.locator("[x-ref=searchInputCommand]")
    expect(field).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type(term)


def test_what_operators_have_is_found_with_the_keyboard_alone(
    browser: Browser, server: LiveServer, failed: str
) -> None:
    seen = opened(browser, server, 1440, "light")
    for term, shown in (
        ("orders/0/1", "Record"),
        ("orders-val", "Subject"),
        ("payments", "Topic"),
        ("order-4711", "404 topic_not_found"),
    ):
        page = seen.open("/admin/")
        search(page, term)
        expect(page.locator("#command-results").get_by_text(shown).first).to_be_visible(timeout=20_000)

    page = seen.open("/admin/topics/topic/")
    search(page, failed.upper())
    expect(page.locator("#command-results").get_by_text(failed)).to_be_visible(timeout=20_000)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{REQUESTS}*/change/")

    expect(page.get_by_text("Only 1 of 2 records were written").first).to_be_visible()


def test_the_dashboard_refreshes_itself(browser: Browser, server: LiveServer) -> None:
    seen = opened(browser, server, 1440, "light")
    page = seen.open("/admin/")
    server.create_topic("fresh")
    server.produce("fresh", [{"value": 1}])

    expect(page.get_by_role("link", name="fresh")).to_be_visible(timeout=40_000)

    expect(page.locator("canvas.chart").first).to_be_visible()
    assert seen.troubles == []
