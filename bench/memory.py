"""Measure the memory of a server through large requests: `python -m bench.memory`."""

import tempfile
import threading
from pathlib import Path

import requests

from devservers.takhin import LiveServer

MIB = 1024 * 1024
RECORD = b'{"value":"%s"}' % (b"x" * 1_000_000)
TEN_MEGABYTES = b'{"records":[%s]}' % b",".join([RECORD] * 10)
ONE_MEGABYTE = b'{"records":[%s]}' % RECORD


def memory(server: LiveServer, name: str = "VmRSS") -> int:
    """MiB of the serving process."""
    status = Path(f"/proc/{server.process_ids()[-1]}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith(name))


def at_once(url: str, count: int, body: bytes) -> int:
    """Send `count` bodies at the same time; how many were accepted."""
    statuses: list[int] = []

    def send() -> None:
        statuses.append(requests.post(url, body, timeout=60).status_code)

    threads = [threading.Thread(target=send) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses.count(200)


def in_turn(url: str, count: int, body: bytes) -> int:
    with requests.Session() as http:
        return sum(http.post(url, body, timeout=60).status_code == 200 for _ in range(count))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = LiveServer(Path(folder) / "data").start("--demo")
        assert server.saw("Ctrl-C stops the server.")
        url = f"{server.url}/api/topics/demo/produce"
        print("| the serving process | accepted | MiB afterwards |\n| --- | --- | --- |")
        print(f"| at rest | | {memory(server)} |")
        for what, run, count, body in (
            ("64 bodies of 10 MB at once", at_once, 64, TEN_MEGABYTES),
            ("200 bodies of 1 MB at once", at_once, 200, ONE_MEGABYTE),
            ("2,000 bodies of 1 MB in turn", in_turn, 2000, ONE_MEGABYTE),
            ("200 bodies of 10 MB in turn", in_turn, 200, TEN_MEGABYTES),
        ):
            accepted = run(url, count, body)
            print(f"| {what} | {accepted} | {memory(server)} |", flush=True)
        print(f"| its peak | | {memory(server, 'VmHWM')} |")
        server.stop()


if __name__ == "__main__":
    main()
