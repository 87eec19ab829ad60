"""Load a server with wrk, and measure what each request costs it."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

REST_SECONDS = 0.5
TICKS = os.sysconf("SC_CLK_TCK")
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
# Sends the bodies in turn. wrk runs Lua.
SCRIPT = """
local bodies = {}
for path in string.gmatch(os.getenv("BENCH_BODIES"), "[^:]+") do
  local file = io.open(path, "rb")
  bodies[#bodies + 1] = file:read("*a")
  file:close()
end
wrk.method = os.getenv("BENCH_METHOD")
for name, value in string.gmatch(os.getenv("BENCH_HEADERS"), "([^:\\n]+): ([^\\n]+)") do
  wrk.headers[name] = value
end
local turn = 0
request = function()
  turn = turn + 1
  return wrk.format(nil, nil, nil, bodies[turn % #bodies + 1])
end
"""


class Load(NamedTuple):
    """What a load was, and what it took. Times are in milliseconds, `cpu` is that of the server per request."""

    requests: int
    per_second: float
    p50: float
    p99: float
    cpu: float
    mib: float


def require_wrk() -> None:
    if shutil.which("wrk") is None:
        sys.exit("The load generator wrk is not installed: apt-get install wrk")


def run(
    url: str,
    pids: Sequence[int],
    bodies: Sequence[bytes],
    connections: int,
    seconds: float,
    method: str = "POST",
    headers: dict[str, str] | None = None,
) -> Load:
    """Send the bodies in turn on each connection, after a second to warm up. Every response must be a success."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        script.write_text(SCRIPT)
        files = [Path(folder) / str(number) for number in range(len(bodies))]
        for file, body in zip(files, bodies, strict=True):
            file.write_bytes(body)
        environment = {
            **os.environ,
            "BENCH_BODIES": ":".join(map(str, files)),
            "BENCH_METHOD": method,
            "BENCH_HEADERS": "\n".join(f"{name}: {value}" for name, value in (headers or {}).items()),
        }
        command = ["wrk", "-t1", f"-c{connections}", "--latency", "-s", str(script), url]
        _wrk([*command, "-d1s"], environment)
        # wrk ends without its last responses. The server still processes such requests, and they must not count.
        time.sleep(REST_SECONDS)
        before = cpu_seconds(pids)
        output = _wrk([*command, f"-d{seconds:g}s"], environment)
        used = cpu_seconds(pids) - before
        time.sleep(REST_SECONDS)
    count = int(_found(r"(\d+) requests in", output))
    rate = float(_found(r"Requests/sec:\s+([\d.]+)", output))
    p50, p99 = (_milliseconds(_found(rf"\s{percent}%\s+(\S+)", output)) for percent in (50, 99))
    return Load(count, rate, p50, p99, used / count * 1000, memory_mib(pids))


def _wrk(command: Sequence[str], environment: dict[str, str]) -> str:
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        sys.exit(f"not every request succeeded:\n{output}")
    return output


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None, text
    return found[1]


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(\w+)", text).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]


def cpu_seconds(pids: Sequence[int]) -> float:
    return (
        sum(sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[11:13])) for pid in pids) / TICKS
    )


def memory_mib(pids: Sequence[int]) -> float:
    """Memory of processes together; what they share is counted once."""
    return sum(
        int(line.split()[1]) / 1024
        for pid in pids
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        if line.startswith("Pss:")
    )
