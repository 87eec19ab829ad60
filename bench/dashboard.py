"""Measure how fast the admin's dashboard opens when it has much to sum up."""

import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from devservers.takhin import LiveServer

TOPICS = 200
# As core.rollups keeps them: the steps in minutes, and for how many minutes each is kept.
STEPS = {1: 180, 15: 26 * 60}
BUCKETS = 14
Row = tuple[int, int, str, str, str, float]


def add_rollups(path: Path) -> int:
    """Add the sums of a day in which 200 topics had requests in every minute. Return how many."""
    rows = list(_rows(int(time.time() // 60)))
    database = sqlite3.connect(path)
    database.executemany(
        "INSERT OR REPLACE INTO core_rollup (step, minute, metric, topic, label, value) VALUES (?, ?, ?, ?, ?, ?)", rows
    )
    database.commit()
    database.close()
    return len(rows)


def _rows(now: int) -> Iterator[Row]:
    kinds = (("requests", ""), ("requests", "invalid_body"), ("records", "written"), ("records", "failed"))
    for step, kept in STEPS.items():
        for minute in range(now // step * step - kept + step, now + 1, step):
            for topic in ("", *(f"topic-{number}" for number in range(TOPICS))):
                yield from ((step, minute, metric, topic, label, 5.0) for metric, label in kinds)
            yield from ((step, minute, "latency", "", str(bucket), 5.0) for bucket in range(BUCKETS))


def log_in(server: LiveServer) -> requests.Session:
    browser = requests.Session()
    address = f"{server.url}/admin/login/"
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', browser.get(address, timeout=30).text)
    assert token is not None
    password = (server.folder / "admin-password").read_text().strip()
    form = {"username": "admin", "password": password, "csrfmiddlewaretoken": token[1], "next": "/admin/"}
    page = browser.post(address, form, headers={"Referer": address}, timeout=30)
    assert "Requests per second" in page.text
    return browser
