"""Measure the product's speed and write bench/results.md: `make bench`, or `python -m bench sync kafka` for some parts.

Each part starts servers of its own. Every row has the processor time of a request, and its ratio to the same request
to a bare Django view on the same server in the same run: absolute times depend on the machine and vary from run to run.
`--profile=ROW` writes a flame graph of one row to bench/profile.svg.
"""

import argparse
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import cramjam
import requests

from bench import dashboard, load
from bench.load import Load
from devservers import ROOT, free_port
from devservers.takhin import LiveServer

VALUE = {
    "event": "page_view",
    "url": "https://example.com/products/4711",
    "user": 9007199254740993,
    "amount": 1.1,
    "session": "a8f5f167f44f4964e6c998dee827110c",
}
SCHEMA = {
    "type": "record",
    "name": "PageView",
    "fields": [
        {"name": "event", "type": "string"},
        {"name": "url", "type": "string"},
        {"name": "user", "type": "long"},
        {"name": "amount", "type": "double"},
        {"name": "session", "type": "string"},
    ],
}
JSON = {"Content-Type": "application/json"}
RESULTS = ROOT / "bench" / "results.md"
HEAD = (
    "| what | connections | requests/s | records/s | p50 ms | p99 ms | CPU ms/request | CPU ms/1000 records | "
    "÷ bare view | MiB |\n| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |"
)


def bodies(count: int, kinds: int = 8) -> list[bytes]:
    """Bodies of `count` records with different keys."""
    return [
        json.dumps(
            {"records": [{"key": f"user-{kind * count + number}", "value": VALUE} for number in range(count)]},
            separators=(",", ":"),
        ).encode()
        for kind in range(kinds)
    ]


class Bench:
    """Collects the lines of the results."""

    def __init__(self, seconds: float, profiled: str) -> None:
        self.seconds = seconds
        self.lines: list[str] = []
        self._profiled = profiled
        # The processor time of the bare view, by connections.
        self._bare: dict[int, float] = {}

    def say(self, line: str) -> None:
        print(line, flush=True)
        self.lines.append(line)

    def measure_bare(self) -> None:
        with _bare() as (url, pids):
            for connections in (1, 4, 16, 64):
                found = load.run(url, pids, bodies(1), connections, self.seconds, headers=JSON)
                self._bare[connections] = found.cpu
                self._show("a bare Django view", connections, 1, found)

    def row(
        self,
        what: str,
        server: LiveServer,
        connections: int,
        count: int,
        *,
        query: str = "",
        headers: dict[str, str] | None = None,
        sent: list[bytes] | None = None,
        method: str = "POST",
        path: str = "/api/topics/demo/produce",
    ) -> Load:
        url = f"{server.url}{path}{query}"
        pids = server.process_ids()
        if what == self._profiled:
            _profile(pids[-1], self.seconds)
        given = {**JSON, **(headers or {})}
        found = load.run(url, pids, sent or bodies(count), connections, self.seconds, method, given)
        self._show(what, connections, count, found)
        return found

    def _show(self, what: str, connections: int, count: int, found: Load) -> None:
        bare = self._bare[connections]
        self.say(
            f"| {what} | {connections} | {found.per_second:,.0f} | {found.per_second * count:,.0f} | {found.p50:.2f} | "
            f"{found.p99:.1f} | {found.cpu:.3f} | {found.cpu / count * 1000:.2f} | {found.cpu / bare:.1f} | "
            f"{found.mib:.0f} |"
        )


@contextmanager
def _bare() -> Iterator[tuple[str, list[int]]]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TAKHIN_DATA_DIR": folder, "TAKHIN_LOG": "embedded"}
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.bare", str(port)], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
        )
        url = f"http://127.0.0.1:{port}/api/topics/demo/produce"
        try:
            _wait_for(url)
            yield url, [process.pid]
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            requests.post(url, b"{}", timeout=5)
            return
        except requests.ConnectionError:
            time.sleep(0.1)
    sys.exit("the bare view did not start")


def _profile(pid: int, seconds: float) -> None:
    file = ROOT / "bench" / "profile.svg"
    command = ["py-spy", "record", "--pid", str(pid), "--duration", f"{seconds:.0f}", "--output", str(file)]
    subprocess.Popen([str(Path(sys.executable).parent / command[0]), *command[1:]], stdout=subprocess.DEVNULL)


@contextmanager
def served(**environment: str) -> Iterator[LiveServer]:
    with tempfile.TemporaryDirectory() as folder:
        server = LiveServer(Path(folder) / "data", **environment).start()
        try:
            server.create_topic("demo")
            yield server
        finally:
            server.stop()


def sync(bench: Bench) -> None:
    bench.say(f"\n## Written before the response, {_journal()}\n\n{HEAD}")
    with served() as server:
        at_rest = load.memory_mib(server.process_ids())
        for count, counts in ((1, (1, 4, 16, 64)), (100, (1, 4, 16, 64)), (1000, (1, 4, 16)), (10_000, (1, 4))):
            for connections in counts:
                found = bench.row(_records(count), server, connections, count)
                if (count, connections) == (1, 16):
                    of_one = found.cpu
        for codec in ("gzip", "snappy", "lz4", "zstd"):
            bench.row(f"1000 records stored as {codec}", server, 4, 1000, query=f"?compression={codec}")
        lines = [b"\n".join(json.dumps(one).encode() for one in json.loads(body)["records"]) for body in bodies(1000)]
        bench.row(
            "1000 records as NDJSON", server, 4, 1000, sent=lines, headers={"Content-Type": "application/x-ndjson"}
        )
        packed = [bytes(cramjam.gzip.compress(body)) for body in bodies(1000)]
        bench.row("1000 records sent as gzip", server, 4, 1000, sent=packed, headers={"Content-Encoding": "gzip"})
        with_schema = [body[:-1] + b',"valueSchema":' + json.dumps(SCHEMA).encode() + b"}" for body in bodies(1000)]
        bench.row("1000 records as Avro", server, 4, 1000, query="?value.format=avro", sent=with_schema)
        # Batches of more than a thousand records, of which the offset is in the middle.
        server.create_topic("large", 1)
        for body in bodies(5000):
            server.http.post(f"{server.url}/api/topics/large/produce", body, timeout=30).raise_for_status()
        messages = "/api/topics/large/messages"
        query = "?partition=0&offset=11000&limit="
        bench.row("read 1 record", server, 1, 1, method="GET", path=messages, query=f"{query}1", sent=[b""])
        bench.row("read 1000 records", server, 1, 1000, method="GET", path=messages, query=f"{query}1000", sent=[b""])
        now = load.memory_mib(server.process_ids())
        bench.say(f"\nMemory of all processes: {at_rest:.0f} MiB at rest, {now:.0f} MiB after these loads.")
    counting = [sys.executable, "-m", "bench.counting"]
    cost = float(subprocess.run(counting, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    share = cost / of_one / 10
    bench.say(
        f"\nTo count a request with 1 record for metrics takes {cost:.1f} µs, {share:.1f} % of its processor time."
    )


def variants(bench: Bench) -> None:
    bench.say(f"\n## The same, otherwise\n\n{HEAD}")
    for what, environment in (
        ("TAKHIN_TRACK_SYNC=failed", {"TAKHIN_TRACK_SYNC": "failed"}),
        ("TAKHIN_PROCESSES=2", {"TAKHIN_PROCESSES": "2"}),
        ("TAKHIN_SQLITE_JOURNAL=TRUNCATE", {"TAKHIN_SQLITE_JOURNAL": "TRUNCATE"}),
    ):
        with served(**environment) as server:
            for count, connections in ((1, 1), (1, 16), (1, 64), (1000, 4)):
                bench.row(f"{_records(count)}, {what}", server, connections, count)
    with served(TAKHIN_REQUIRE_API_KEY="false") as open_server:
        secret = open_server.manage("create_api_key", "bench").splitlines()[-1]
        open_server.stop()
        open_server.environment["TAKHIN_REQUIRE_API_KEY"] = "true"
        open_server.start()
        bench.row("1 record, API keys required", open_server, 16, 1, headers={"X-API-Key": secret})


def asynchronous(bench: Bench) -> None:
    bench.say(f"\n## Accepted with `async=true`, {_journal()}\n\n{HEAD}")
    with served(TAKHIN_WORKERS="0") as server:
        for count, connections in ((1, 1), (1, 16), (1000, 4)):
            bench.row(f"{_records(count)} accepted, no worker", server, connections, count, query="?async=true")
    for count, total in ((1, 10_000), (1000, 300)):
        bench.say("\n" + _drained(count, total))
    with served() as server:
        bench.say(f"\nAn idle server: {_completed(server):.1f} ms from sending 1 record to the response of `?wait=30`.")


def _drained(count: int, total: int) -> str:
    """Accept requests without a worker, and then let one worker write them."""
    with served(TAKHIN_WORKERS="0") as server:
        url = f"{server.url}/api/topics/demo/produce?async=true"
        for body in bodies(count, 1) * total:
            answer = server.http.post(url, body, timeout=30)
            assert answer.status_code == 202, answer.text
        last = answer.json()["requestId"]
        server.stop()
        server.environment["TAKHIN_WORKERS"] = "1"
        server.start()
        began = time.perf_counter()
        while (
            server.http.get(f"{server.url}/api/produce/status/{last}?wait=30", timeout=40).json()["status"] == "pending"
        ):
            pass
        seconds = time.perf_counter() - began
    return (
        f"One worker writes {total:,} requests of {_records(count)} in {seconds:.2f} s: "
        f"{total / seconds:,.0f} requests/s, {total * count / seconds:,.0f} records/s."
    )


def _completed(server: LiveServer) -> float:
    def through() -> None:
        request_id = server.http.post(
            f"{server.url}/api/topics/demo/produce?async=true", bodies(1, 1)[0], timeout=30
        ).json()["requestId"]
        status = server.http.get(f"{server.url}/api/produce/status/{request_id}?wait=30", timeout=40).json()["status"]
        assert status == "completed", status

    return _median(through, 200)


def postgres(bench: Bench) -> None:
    from devservers.postgres import PostgresServer

    bench.say(f"\n## PostgreSQL on the same machine\n\n{HEAD}")
    with PostgresServer() as database:
        for processes in ("1", "2"):
            os.environ["DATABASE_URL"] = database.url()
            with served(TAKHIN_PROCESSES=processes) as server:
                for count, connections in ((1, 1), (1, 4), (1, 16), (1, 64), (1000, 4)):
                    bench.row(f"{_records(count)}, {processes} process(es)", server, connections, count)
            os.environ["DATABASE_URL"] = ""


def kafka(bench: Bench) -> None:
    """On librdkafka's mock cluster, or the real one of KAFKA_BOOTSTRAP_SERVERS, such as `make kafka` starts."""
    from devservers.mock_kafka import MockCluster

    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")
    bench.say(f"\n## Kafka: {'a real cluster' if given else 'a mock cluster (librdkafka)'}\n\n{HEAD}")
    with MockCluster() as mock:
        mock.create_topic("demo", 3)
        mock.create_topic("_takhin_outcomes", 1)
        bootstrap = given or mock.bootstrap
        for processes in ("1", "2"):
            with tempfile.TemporaryDirectory() as folder:
                kafka = {"TAKHIN_LOG": "kafka", "KAFKA_BOOTSTRAP_SERVERS": bootstrap, "TAKHIN_PROCESSES": processes}
                server = LiveServer(Path(folder) / "data", **kafka).start()
                if given:
                    server.http.post(f"{server.url}/api/topics", json={"name": "demo", "partitions": 3}, timeout=30)
                for count, connections in ((1, 1), (1, 16), (1, 64), (1000, 1), (1000, 4)):
                    bench.row(f"{_records(count)}, {processes} process(es)", server, connections, count)
                server.stop()
    command = [sys.executable, "-m", "bench.kafka"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    bench.say(f"\nWithout HTTP, beside librdkafka alone (`python -m bench.kafka`):\n\n```\n{output}```")


def growth(bench: Bench) -> None:
    """What a request costs when the log has ten million records and the admin a million requests."""
    bench.say(f"\n## Growth\n\n{HEAD}")
    with served(TAKHIN_WORKERS="0", TAKHIN_HOUSEKEEPING_INTERVAL="0") as server:
        empty = bench.row("1 record, empty log", server, 16, 1)
        url = f"{server.url}/api/topics/demo/produce"
        for body in bodies(10_000) * 125:
            server.http.post(url, body, timeout=60).raise_for_status()
        server.stop()
        _add_requests(server.folder / "takhin.sqlite3", 1_000_000)
        sums = dashboard.add_rollups(server.folder / "takhin.sqlite3")
        server.start()
        full = bench.row("1 record, 10 M records and 1 M requests", server, 16, 1)
        bench.say(f"\nThe full log takes {full.cpu / empty.cpu:.2f} times the processor time of the empty one.")
        browser = dashboard.log_in(server)
        taken = _median(lambda: browser.get(f"{server.url}/admin/", timeout=30).raise_for_status(), 20)
        bench.say(f"The admin's dashboard opens in {taken:.0f} ms, with {sums:,} sums of {dashboard.TOPICS} topics.")


def _add_requests(path: Path, count: int) -> None:
    """Copy a finished request many times, under other ids."""
    database = sqlite3.connect(path)
    columns = [row[1] for row in database.execute("PRAGMA table_info(producer_producerequest)")]
    rest = ", ".join(columns[1:])
    numbers = f"WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {count})"
    database.execute(
        f"INSERT INTO producer_producerequest ({', '.join(columns)}) {numbers} "
        f"SELECT printf('req_00000000%024x', n), {rest} FROM n, "
        "(SELECT * FROM producer_producerequest WHERE status = 'completed' LIMIT 1)"
    )
    database.commit()
    database.close()


def parts(bench: Bench) -> None:
    bench.say("\n## The parts\n")
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, 100, 1000):
            taken = _median(_commit(Path(folder) / f"{count}.sqlite3", bodies(count, 1)[0]), 200)
            bench.say(f"- SQLite alone commits the bytes of {_records(count)}: {taken:.2f} ms")
    taken = _median(lambda: sum(number & 3 for number in range(1_000_000)), 5)
    bench.say(f"- a million additions in a Python loop, which tells how fast this machine is now: {taken:.0f} ms")
    for module in ("bench.avro", "bench.memory"):
        output = subprocess.run([sys.executable, "-m", module], cwd=ROOT, capture_output=True, text=True, check=True)
        bench.say(f"\n`python -m {module}`:\n\n```\n{output.stdout}```")


def _commit(path: Path, body: bytes) -> Callable[[], object]:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(f"PRAGMA journal_mode={_journal()}")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE floor (payload BLOB)")
    return lambda: database.execute("INSERT INTO floor VALUES (?)", [body])


def _journal() -> str:
    from takhin_site.sqlite import BEST_JOURNAL

    return BEST_JOURNAL


def _records(count: int) -> str:
    return "1 record" if count == 1 else f"{count:,} records"


def _median(call: Callable[[], object], times: int) -> float:
    """Milliseconds of the median call, after a tenth of them as a warm-up."""
    for _ in range(times // 10):
        call()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


PARTS = {
    "sync": sync,
    "variants": variants,
    "async": asynchronous,
    "postgres": postgres,
    "kafka": kafka,
    "growth": growth,
    "parts": parts,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure (default: everything)")
    parser.add_argument("--seconds", type=float, default=3, help="how long each row is measured (default: 3)")
    parser.add_argument("--profile", default="", metavar="ROW", help="write a flame graph of the row of this name")
    given = parser.parse_args()
    load.require_wrk()
    os.environ.setdefault("DATABASE_URL", "")
    bench = Bench(given.seconds, given.profile)
    bench.say(f"# Results of `make bench`, {datetime.now(UTC):%Y-%m-%d}\n")
    bench.say(
        f"{os.cpu_count()} cores, which also run the load generator; Python {platform.python_version()}.\n\n{HEAD}"
    )
    bench.measure_bare()
    for name in given.parts or PARTS:
        PARTS[name](bench)
    if not given.parts:
        RESULTS.write_text("\n".join(bench.lines) + "\n")


if __name__ == "__main__":
    main()
