"""Clients that generators make from the OpenAPI description compile, and work against a real server."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import requests

from devservers import ROOT
from devservers.takhin import LiveServer

pytestmark = [
    pytest.mark.external,
    pytest.mark.no_database,
    pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm on this machine"),
]
PYTHON_GENERATOR = "openapi-python-client==0.29.1"
NPM = ["openapi-typescript@7.10.1", "openapi-fetch@0.15.0", "typescript@5.9.3", "@types/node@20"]
TYPESCRIPT = """
import createClient from "openapi-fetch";
import type { paths } from "./api";

const client = createClient<paths>({ baseUrl: process.argv[2] });

async function main() {
    const records = [{ key: "k", value: { n: 1 } }, { value: "two" }];
    const sync = await client.POST("/api/topics/{topic}/produce", {
        params: { path: { topic: "demo" }, query: { strict: true, compression: "zstd" } },
        body: { records },
    });
    if (sync.error) throw new Error(sync.error.code);
    // 200, not 202.
    if (!("offsets" in sync.data)) throw new Error("accepted only");
    const accepted = await client.POST("/api/topics/{topic}/produce", {
        params: { path: { topic: "demo" }, query: { async: true } },
        body: { records },
    });
    const requestId = (accepted.data as { requestId: string }).requestId;
    const status = await client.GET("/api/produce/status/{request_id}", {
        params: { path: { request_id: requestId }, query: { wait: 20 } },
    });
    const messages = await client.GET("/api/topics/{topic}/messages", {
        params: { path: { topic: "demo" }, query: { decode: true, limit: 2 } },
    });
    const missing = await client.GET("/api/topics/{topic}", { params: { path: { topic: "nowhere" } } });
    console.log(JSON.stringify({
        offsets: sync.data.offsets.length,
        status: status.data?.status,
        messages: messages.data?.length,
        code: missing.error?.code,
    }));
}
main().catch((error) => { console.error(error); process.exit(1); });
"""
PYTHON = """
import json, sys
from client import AuthenticatedClient
from client.api.produce import produce, status
from client.api.topics import describe_topic, read_messages
from client.models import ProduceRequestRequest

client = AuthenticatedClient(base_url=sys.argv[1], token="none is required here")
body = ProduceRequestRequest.from_dict({"records": [{"key": "k", "value": {"n": 1}}, {"value": "two"}]})
sync = produce.sync("demo", client=client, body=body, strict=True)
accepted = produce.sync("demo", client=client, body=body, async_=True)
found = status.sync(accepted.request_id, client=client, wait=20)
messages = read_messages.sync("demo", client=client, limit=2, decode=True)
missing = describe_topic.sync("nowhere", client=client)
print(json.dumps({
    "offsets": len(sync.offsets), "status": str(found.status), "messages": len(messages), "code": missing.code,
}))
"""
EXPECTED = {"offsets": 2, "status": "completed", "messages": 2, "code": "topic_not_found"}


@pytest.fixture
def described(live: LiveServer, tmp_path: Path) -> Path:
    file = tmp_path / "openapi.json"
    file.write_text(requests.get(f"{live.url}/openapi.json", timeout=10).text)
    return file


def run(*command: str, folder: Path, **variables: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_typescript(live: LiveServer, described: Path) -> None:
    folder = described.parent
    (folder / "package.json").write_text('{"private": true, "type": "commonjs"}')
    run("npm", "install", "--no-audit", "--no-fund", "--silent", *NPM, folder=folder)
    run("npx", "openapi-typescript", described.name, "--output", "api.d.ts", folder=folder)
    (folder / "use.ts").write_text(TYPESCRIPT)

    options = ["--strict", "--skipLibCheck", "--target", "es2022", "--module", "nodenext"]
    run("npx", "tsc", *options, "--moduleResolution", "nodenext", "use.ts", folder=folder)

    assert json.loads(run("node", "use.js", live.url, folder=folder)) == EXPECTED


def test_python(live: LiveServer, described: Path) -> None:
    folder = described.parent
    uv = str(ROOT / ".venv" / "bin" / "uv")
    generate = ["generate", "--path", described.name, "--output-path", "client", "--meta", "none"]
    run(uv, "tool", "run", "--from", PYTHON_GENERATOR, "openapi-python-client", *generate, folder=folder)
    (folder / "use.py").write_text(PYTHON)
    packages = ["--with", "httpx", "--with", "attrs", "--with", "python-dateutil"]

    run(uv, "run", "--no-project", *packages, "python", "-m", "compileall", "-q", "client", folder=folder)
    said = run(uv, "run", "--no-project", *packages, "python", "use.py", live.url, folder=folder)

    assert json.loads(said) == EXPECTED
