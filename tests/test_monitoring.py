"""A real Prometheus gets data for every expression of the rules and of the dashboard."""

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from devservers import ROOT, free_port
from devservers.mock_kafka import MockCluster
from devservers.takhin import LiveServer

pytestmark = [pytest.mark.external, pytest.mark.no_database, pytest.mark.usefixtures("no_server_left")]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "takhin.json").read_text())
OPERATIONS = ROOT / "docs" / "operations.md"


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_valid_and_alert_when_they_should() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("test", "rules", str(RULES.with_name("rules_test.yml")))
    tested = RULES.with_name("rules_test.yml").read_text()
    for alert in re.findall(r"- alert: (\w+)", RULES.read_text()):
        assert f"alertname: {alert}" in tested, alert


def test_every_alert_has_a_section_that_says_what_to_do() -> None:
    headings = re.findall(r"^#+ (.+)$", OPERATIONS.read_text(), re.MULTILINE)
    for alert, runbook in re.findall(r"- alert: (\w+)(?:.|\n)*?runbook: (\S+)", RULES.read_text()):
        assert runbook == f"docs/operations.md#{alert.lower()}"
        assert alert in headings, alert


def expressions() -> dict[str, str]:
    """Name -> expression. Of alerts, what they compare, because nothing is wrong here."""
    found: dict[str, str] = {}
    text = RULES.read_text()
    for name, expression in re.findall(r"- (?:record|alert): (\S+)\n\s+expr: (?:>-\n)?((?:.+\n)(?:\s{10}.+\n)*)", text):
        found[name] = re.sub(r" (?:>|<|==) [\d.]+$", "", " ".join(expression.split()))
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "1m").replace("$job", ".*")
            found[f"{panel['title']} {target['refId']}"] = expression
    return found


class Prometheus:
    def __init__(self, folder: Path, targets: list[str]) -> None:
        self.port = free_port()
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "takhin", "static_configs": [{"targets": targets}]}],
        }
        # JSON is YAML.
        (folder / "prometheus.yml").write_text(json.dumps(config))
        self.log = folder / "prometheus.log"
        command = [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def get(self, path: str, **parameters: str) -> Any:
        answer = requests.get(f"http://127.0.0.1:{self.port}/api/v1/{path}", params=parameters, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[LiveServer]]:
    with MockCluster(1) as cluster:
        cluster.create_topic("orders", 2)
        found = [
            LiveServer(tmp_path / "embedded"),
            LiveServer(
                tmp_path / "kafka",
                TAKHIN_LOG="kafka",
                KAFKA_BOOTSTRAP_SERVERS=cluster.bootstrap,
                TAKHIN_KAFKA_EXACTLY_ONCE="false",
                KAFKA_STATISTICS_INTERVAL_MS="500",
            ),
        ]
        for server in found:
            server.start()
        found[0].create_topic("orders", 2)
        yield found
        for server in found:
            server.stop()


def load(server: LiveServer, stopping: threading.Event) -> None:
    """Everything that there is a number for."""
    while not stopping.is_set():
        for query in ("", "?compression=zstd", "?async=true", "?value.format=string"):
            records = [{"value": "x" * 300}, {"value": {"a": 1}, "partition": 99}]
            requests.post(f"{server.url}/api/topics/orders/produce{query}", json={"records": records}, timeout=30)
        requests.post(f"{server.url}/api/topics/nowhere/produce", json={"records": [{"value": 1}]}, timeout=30)


def test_every_expression_returns_data(servers: list[LiveServer], tmp_path: Path) -> None:
    prometheus = Prometheus(tmp_path, [f"127.0.0.1:{server.port}" for server in servers])
    stopping = threading.Event()
    threads = [threading.Thread(target=load, args=[server, stopping]) for server in servers]
    for thread in threads:
        thread.start()
    try:
        wanted = expressions()
        assert len(wanted) > 40
        deadline = time.monotonic() + 90
        empty = dict(wanted)
        while empty and time.monotonic() < deadline:
            time.sleep(1)
            empty = {name: one for name, one in empty.items() if not _result(prometheus, one)}
        assert empty == {}
        # The file itself was loaded and evaluated without an error.
        rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        assert [rule["lastError"] for rule in rules if rule.get("lastError")] == []
        assert {target["health"] for target in prometheus.get("targets")["activeTargets"]} == {"up"}
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
        prometheus.close()


def _result(prometheus: Prometheus, expression: str) -> Any:
    try:
        return [one for one in prometheus.get("query", query=expression)["result"] if one["value"][1] != "NaN"]
    except requests.ConnectionError:
        return []


def test_the_files_of_grafana_fit_together() -> None:
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    assert "uid: prometheus" in (provisioning / "datasources" / "prometheus.yml").read_text()
    compose = (ROOT / "compose.monitoring.yml").read_text()
    folder = re.findall(r"path: (\S+)", (provisioning / "dashboards" / "takhin.yml").read_text())[0]
    assert f"takhin.json:{folder}/takhin.json" in compose
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24, panel["title"]
