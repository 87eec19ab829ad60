"""Send what schemathesis derives from the OpenAPI description, and check that every answer is described."""

import os
import re
import subprocess
import sys
from pathlib import Path

from devservers.takhin import LiveServer

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "allow_header_conformance",
    "unsupported_method",
)


# Else nearly every topic is an unknown one, and no body is ever read.
FUZZER_SETTINGS = """
[[operations]]
include-operation-id = ["produce", "readMessages", "changeTopic", "describeTopic"]
parameters = { topic = "fuzzed" }

[[operations]]
include-operation-id = "deleteTopic"
parameters = { topic = "unwanted" }
"""
HOOKS = """
import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def ndjson(context, value):
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


# One of a millisecond rightly gets 503.
@schemathesis.hook
def before_call(context, case, kwargs):
    if isinstance(case.query, dict):
        case.query.pop("timeout", None)
"""


# A request that takes longer hangs.
MOST_SECONDS = 15


def fuzz(
    server: LiveServer, folder: Path, examples: int, phases: str = "examples,coverage,fuzzing", seconds: float = 180
) -> int:
    """Fuzz all operations with this many generated examples each. Return how many cases ran, without a finding."""
    (folder / "fuzzing_hooks.py").write_text(HOOKS)
    (folder / "schemathesis.toml").write_text(FUZZER_SETTINGS)
    for topic in ("fuzzed", "unwanted"):
        server.create_topic(topic)
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "st"),
            "run",
            f"{server.url}/openapi.json",
            f"--checks={','.join(CHECKS)}",
            f"--phases={phases}",
            f"--max-examples={examples}",
            f"--request-timeout={MOST_SECONDS}",
            "--seed=1",
            "--no-color",
            "--continue-on-failure",
            "--suppress-health-check=all",
            "--warnings=off",
        ],
        cwd=folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "fuzzing_hooks", "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    answer = server.http.get(f"{server.url}/api/topics/fuzzed", timeout=10).json()
    written = sum(bounds["highWaterMark"] for bounds in answer["partitions"])
    assert written, "no record was written"
    found = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert found is not None, done.stdout
    assert found[1] == found[2]
    return int(found[1])
