"""Measure the product on this machine, each figure beside the floor of the same run: HTTP alone, and the disk alone.

Run it with `make bench`. It starts a server of its own on a data folder of its own.
"""

import http.client
import json
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "takhin_site.settings")
os.environ["TAKHIN_DATA_DIR"] = tempfile.mkdtemp(prefix="takhin-bench-")

from django.conf import settings

from devservers.takhin import LiveServer

VALUE = {
    "event": "page_view",
    "url": "https://example.com/products/4711",
    "user": 9007199254740993,
    "amount": 1.1,
    "session": "a8f5f167f44f4964e6c998dee827110c",
}


def main() -> None:
    server = LiveServer(Path(os.environ["TAKHIN_DATA_DIR"]))
    print(f"journal_mode={settings.TAKHIN_SQLITE_JOURNAL}, {os.cpu_count()} cores, one client, one connection")
    for which in ("first", "second"):
        started = time.perf_counter()
        server.start("--demo")
        print(f"start-up         {which} {time.perf_counter() - started:.2f} s until ready")
        if which == "first":
            server.stop()
    try:
        report(server)
    finally:
        server.stop()


def report(server: LiveServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)

    def call(method: str, path: str, body: bytes | None = None, expected: int = 200) -> bytes:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        assert response.status == expected, answer
        return answer

    def produce(count: int) -> Callable[[], bytes]:
        body = body_of(count)
        return lambda: call("POST", "/api/topics/demo/produce", body)

    def through() -> None:
        request_id = json.loads(call("POST", "/api/topics/demo/produce?async=true", body_of(1), 202))["requestId"]
        status = json.loads(call("GET", f"/api/produce/status/{request_id}?wait=30"))["status"]
        assert status == "completed", status

    http_floor = median(lambda: call("GET", "/api/health/live"), 500)
    print(f"HTTP floor       p50 {http_floor:6.2f} ms  GET /api/health/live")
    for count, times in ((1, 1000), (100, 300), (1000, 100)):
        disk_floor = median(commit_floor(server.folder / f"floor-{count}.sqlite3", body_of(count)), times)
        p50 = median(produce(count), times)
        print(
            f"sync {count:5} records p50 {p50:6.2f} ms = {p50 / (http_floor + disk_floor):4.1f} x the floors "
            f"(disk {disk_floor:.2f} ms)  {count / p50 * 1000:7.0f} records/s"
        )
    accept = median(lambda: call("POST", "/api/topics/demo/produce?async=true", body_of(1), 202), 500)
    print(f"async accept     p50 {accept:6.2f} ms")
    # Let the worker finish what the measurement before this one has queued.
    time.sleep(2)
    print(f"async completed  p50 {median(through, 200):6.2f} ms from sending to the answer of ?wait=30")
    before = resident_mib(server)
    for _ in range(10_000):
        produce(1)()
    print(f"memory           {before:.0f} MiB, and {resident_mib(server):.0f} MiB after 10,000 more requests")


def body_of(count: int) -> bytes:
    return json.dumps({"records": [{"key": f"user-{number}", "value": VALUE} for number in range(count)]}).encode()


def median(call: Callable[[], object], times: int) -> float:
    """Milliseconds of the median call, after a tenth of them as a warm-up."""
    for _ in range(times // 10):
        call()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


def commit_floor(path: Path, body: bytes) -> Callable[[], object]:
    """The least the disk can do: SQLite commits the body's bytes in one row, with the product's own pragmas."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(f"PRAGMA journal_mode={settings.TAKHIN_SQLITE_JOURNAL}")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE floor (payload BLOB)")
    return lambda: database.execute("INSERT INTO floor VALUES (?)", [body])


def resident_mib(server: LiveServer) -> float:
    """Memory of the server's processes together; what they share is counted once."""
    return sum(
        int(line.split()[1]) / 1024
        for pid in server.process_ids()
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        if line.startswith("Pss:")
    )


if __name__ == "__main__":
    main()
