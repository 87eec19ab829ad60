"""A wrong word about the cluster is judged before anything depends on it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devservers import ROOT
from devservers.mock_kafka import MockCluster
from devservers.takhin import LiveServer
from tests.test_configuration import manage

pytestmark = pytest.mark.no_database


def check(folder: Path, bootstrap: str, **variables: str) -> tuple[int, str]:
    """The exit code of `manage.py check` and what it says."""
    done = manage(folder, "check", TAKHIN_LOG="kafka", KAFKA_BOOTSTRAP_SERVERS=bootstrap, **variables)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr + done.stdout


def test_it_works(tmp_path: Path, mock_cluster: MockCluster) -> None:
    code, said = check(tmp_path, mock_cluster.bootstrap, KAFKA_LINGER_MS="5", KAFKA_FETCH_WAIT_MAX_MS="50")

    assert code == 0
    assert "takhin." not in said


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("KAFKA_NO_SUCH_PROPERTY", "1", 'No such configuration property: "no.such.property"'),
        ("KAFKA_SECURITY_PROTOCOL", "TLS", 'Invalid value "TLS" for configuration property "security.protocol"'),
        ("KAFKA_LINGER_MS", "soon", "Invalid value"),
        ("KAFKA_SASL_MECHANISM", "NONSENSE", "NONSENSE"),
        ("KAFKA_SSL_CA_LOCATION", "/nowhere.pem", "ssl.ca.location"),
        ("KAFKA_ACKS", "1", "KAFKA_ACKS cannot be set: a response means that all in-sync replicas have the record"),
        ("KAFKA_ENABLE_IDEMPOTENCE", "false", "KAFKA_ENABLE_IDEMPOTENCE cannot be set"),
        ("KAFKA_COMPRESSION_TYPE", "lz4", "KAFKA_COMPRESSION_TYPE cannot be set: every request chooses its own codec"),
    ],
)
def test_a_wrong_property_is_an_error_that_names_it(
    tmp_path: Path, mock_cluster: MockCluster, name: str, value: str, expected: str
) -> None:
    more = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"} if "SASL" in name else {}
    more |= {"KAFKA_SECURITY_PROTOCOL": "SSL"} if "SSL" in name else {}
    code, said = check(tmp_path, mock_cluster.bootstrap, **{**more, name: value})

    assert code == 1
    assert expected in said


def test_what_is_no_property_is_left_alone(tmp_path: Path, mock_cluster: MockCluster) -> None:
    """Kubernetes sets such variables for a service named kafka."""
    code, said = check(
        tmp_path,
        mock_cluster.bootstrap,
        KAFKA_SERVICE_HOST="10.0.0.1",
        KAFKA_PORT="tcp://10.0.0.1:9092",
        KAFKA_PORT_9092_TCP_ADDR="10.0.0.1",
        KAFKA_HEAP_OPTS="-Xmx1g",
    )

    assert (code, "takhin." in said) == (0, False)


def test_brokers_that_do_not_answer_are_a_warning(tmp_path: Path) -> None:
    code, said = check(tmp_path, "127.0.0.1:9")

    assert code == 0
    assert "takhin.W002" in said
    assert "127.0.0.1:9 answers: Connect to ipv4#127.0.0.1:9 failed: Connection refused" in said


def test_records_in_the_clear_are_a_warning(tmp_path: Path) -> None:
    _, said = check(tmp_path, "127.0.0.1:9,kafka.example.invalid:9092")

    assert "takhin.W003" in said
    assert "kafka.example.invalid" in said


def test_without_brokers_the_start_ends_in_one_line(tmp_path: Path) -> None:
    done = manage(tmp_path, "check", TAKHIN_LOG="kafka", KAFKA_BOOTSTRAP_SERVERS="")

    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("takhin: KAFKA_BOOTSTRAP_SERVERS must list brokers")


def test_a_secret_is_read_from_a_file_and_never_shown(tmp_path: Path, mock_cluster: MockCluster) -> None:
    (tmp_path / "password").write_text("s3cret-of-the-cluster\n")
    code = "from django.conf import settings; import json; print(json.dumps(settings.KAFKA))"
    variables = {
        "TAKHIN_LOG": "kafka",
        "KAFKA_BOOTSTRAP_SERVERS": mock_cluster.bootstrap,
        "KAFKA_SASL_PASSWORD_FILE": str(tmp_path / "password"),
    }
    done = manage(tmp_path, "shell", "-v0", "-c", code, **variables)
    refused = manage(tmp_path, "check", **{**variables, "KAFKA_SECURITY_PROTOCOL": "nonsense"})

    assert json.loads(done.stdout)["sasl.password"] == "s3cret-of-the-cluster"
    assert refused.returncode == 1
    assert "s3cret" not in refused.stderr + refused.stdout + done.stderr


def test_a_secret_file_that_is_missing_ends_the_start_in_one_line(tmp_path: Path) -> None:
    variables = {"TAKHIN_LOG": "kafka", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}
    done = manage(tmp_path, "check", **variables, KAFKA_SASL_PASSWORD_FILE="/nowhere/password")

    (line,) = done.stderr.splitlines()
    assert line.startswith("takhin: KAFKA_SASL_PASSWORD_FILE must be a readable file")


BLOCKED = (
    "import sys; sys.modules['confluent_kafka'] = None; sys.argv = ['manage.py', 'check']; import manage; manage.main()"
)


def test_without_the_client_the_check_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED],
        cwd=ROOT,
        env={
            **os.environ,
            "TAKHIN_DATA_DIR": str(tmp_path),
            "TAKHIN_LOG": "kafka",
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 1
    assert "TAKHIN_LOG=kafka needs the Kafka client: pip install '.[kafka]'" in done.stderr


def test_a_server_with_a_demo_starts_while_the_cluster_is_away(tmp_path: Path) -> None:
    """`make run` ended, so that async requests were not taken either."""
    server = LiveServer(tmp_path / "data", TAKHIN_LOG="kafka", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:9").start("--demo")
    try:
        ready = server.http.get(f"{server.url}/api/health/ready", timeout=10)
        assert (ready.status_code, ready.json()["degraded"]) == (200, ["log"])
        assert "Skipping the demo" in server.log.read_text()
    finally:
        server.stop()
