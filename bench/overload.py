"""Offer a server three times what it can take: `python -m bench.overload` (`--sizes 1MB --seconds 60 --times 3`).

For each size of request: find the peak, offer a multiple of it with an open loop, and see who gets a response when,
what becomes of liveness and memory, and whether the server is the same afterwards.

The generator is a process of its own with prepared bytes, and so is the prober. On a machine with two cores they share
them with the server, so the server has less than it would have with its clients elsewhere: the generator takes a
seventh of a core for 2,700 small requests or 290 MB per second. The peak is measured with the same generator, before
and afterwards. Times include how late it was itself, which the table shows, with what other processes took of the
processors meanwhile: a row with much of that says little.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import requests

from bench import load, open_loop
from bench.open_loop import Offered
from devservers.takhin import LiveServer

PATH = "/api/topics/demo/produce"
PROBE_SECONDS = 0.05
SAMPLE_SECONDS = 0.1
PEAK_SECONDS = 4.0
CALM_SECONDS = 5.0
REST_SECONDS = 2.0
# A share of the peak at which nothing waits for anything.
CALM = 0.2


class Size(NamedTuple):
    body: bytes
    # How many connections to look for the peak with.
    connections: tuple[int, ...]


def _records(count: int, size: int) -> bytes:
    return json.dumps({"records": [{"key": f"k{number}", "value": "x" * size} for number in range(count)]}).encode()


SIZES = {
    "1-record": Size(_records(1, 100), (16, 64, 128)),
    "1MB": Size(_records(1, 1_000_000), (2, 4, 8, 16)),
    "10MB": Size(_records(10, 1_000_000), (1, 2, 4)),
}
HEAD = (
    "| requests | peak /s | again | offered /s | accepted /s | of peak | p50 ms | p99 ms | rejected /s | p99 ms | "
    "most ms | within 50 ms | lost | live p99 ms | most ms | MiB before | most | after | calm p99 ms | after | "
    "late p99 ms | generator's CPU | others' CPU |"
)


class Memory(threading.Thread):
    """Samples the resident memory of the serving process."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._path = Path(f"/proc/{pid}/statm")
        self._stopping = threading.Event()
        self.most = 0.0

    def now(self) -> float:
        return int(self._path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def run(self) -> None:
        while not self._stopping.wait(SAMPLE_SECONDS):
            self.most = max(self.most, self.now())

    def stop(self) -> None:
        self._stopping.set()
        self.join()


def probe(url: str, seconds: float) -> list[float]:
    """Return how long each liveness probe took, in seconds. Each has its own connection, as from an orchestrator."""
    taken = []
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        requests.get(f"{url}/api/health/live", timeout=30).raise_for_status()
        taken.append(time.perf_counter() - began)
        time.sleep(PROBE_SECONDS)
    return taken


def percentile(seconds: list[float], share: float) -> float:
    """Return it in milliseconds."""
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * share))] * 1000 if seconds else float("nan")


def _busy_seconds() -> float:
    """Return what all processors have worked so far, for anyone."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    idle, waiting = fields[3:5]
    return (sum(fields) - idle - waiting) / load.TICKS


def measure(name: str, seconds: float, times: float) -> str:
    size = SIZES[name]
    request = open_loop.post(PATH, size.body)
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool,
    ):
        server = LiveServer(Path(folder) / "data").start("--demo")
        try:
            assert server.saw("Ctrl-C stops the server.")

            def run(what: object, *arguments: object) -> Offered:
                return pool.submit(what, server.url, request, *arguments).result()  # type: ignore[arg-type]

            run(open_loop.saturate, size.connections[-1], 2)
            found = {count: run(open_loop.saturate, count, PEAK_SECONDS).goodput for count in size.connections}
            best = max(found, key=lambda count: found[count])
            peak = found[best]
            calm = run(open_loop.offer, CALM * peak, CALM_SECONDS)
            pids = server.process_ids()[:2]
            memory = Memory(pids[1])
            before = memory.now()
            memory.start()
            probing = pool.submit(probe, server.url, seconds)
            busy, used = _busy_seconds(), load.cpu_seconds(pids)
            overload = run(open_loop.offer, times * peak, seconds)
            others = _busy_seconds() - busy - (load.cpu_seconds(pids) - used) - overload.cpu
            probes = probing.result()
            memory.stop()
            time.sleep(REST_SECONDS)
            afterwards = run(open_loop.offer, CALM * peak, CALM_SECONDS)
            again = run(open_loop.saturate, best, PEAK_SECONDS).goodput
            return _row(
                name,
                (peak, again),
                overload,
                probes,
                (before, memory.most, memory.now()),
                (calm, afterwards),
                others / overload.elapsed,
            )
        finally:
            server.stop()


def _row(
    name: str,
    peaks: tuple[float, float],
    found: Offered,
    probes: list[float],
    memory: tuple[float, float, float],
    calm: tuple[Offered, Offered],
    others: float,
) -> str:
    """`peaks` and `calm` are from before and afterwards, `memory` is before, the most, and afterwards."""
    unexpected = {
        status: count for status, count in found.statuses.items() if status not in (200, 503, 0, -1) and count
    }
    assert not unexpected, unexpected
    assert not found.without_retry_after
    quick = sum(taken <= 0.05 for taken in found.rejected) / max(1, len(found.rejected))
    cells = (
        name,
        *(f"{peak:,.0f}" for peak in peaks),
        f"{found.sent / found.seconds:,.0f}",
        f"{found.goodput:,.0f}",
        f"{found.goodput / statistics.mean(peaks):.0%}",
        f"{percentile(found.accepted, 0.5):.0f}",
        f"{percentile(found.accepted, 0.99):.0f}",
        f"{len(found.rejected) / found.seconds:,.0f}",
        f"{percentile(found.rejected, 0.99):.0f}",
        f"{percentile(found.rejected, 1):.0f}",
        f"{quick:.1%}",
        f"{found.statuses[0] + found.statuses[-1]}",
        f"{percentile(probes, 0.99):.0f}",
        f"{percentile(probes, 1):.0f}",
        *(f"{mib:.0f}" for mib in memory),
        *(f"{percentile(one.accepted, 0.99):.0f}" for one in calm),
        f"{percentile(found.late, 0.99):.0f}",
        f"{found.cpu / found.elapsed:.0%}",
        f"{others:.0%}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.overload")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), metavar="SIZE")
    parser.add_argument("--seconds", type=float, default=60, help="how long the overload lasts (default: 60)")
    parser.add_argument("--times", type=float, default=3, help="how many times the peak is offered (default: 3)")
    given = parser.parse_args()
    print(
        f"{given.times:g} times the peak for {given.seconds:g} s; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    print(f"\n{HEAD}\n|{' --: |' * (HEAD.count('|') - 1)}")
    for name in given.sizes:
        print(measure(name, given.seconds, given.times), flush=True)


if __name__ == "__main__":
    main()
