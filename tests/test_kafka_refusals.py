"""A cluster that refuses the server says why: on startup, in health, and in each response."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from devservers import free_port
from devservers.kafka import KafkaCluster
from devservers.takhin import LiveServer
from tests.test_kafka_configuration import check
from tests.test_kafka_outages import finished, until

pytestmark = [pytest.mark.no_database, pytest.mark.kafka]
RECEIPTS = "_takhin_outcomes"


class Guarded:
    """A broker with three listeners: an open one for administrators, one with passwords and rights, one with TLS."""

    def __init__(self, folder: Path) -> None:
        sasl, tls = free_port(), free_port()
        self.ca, key = _certificate(folder, "ca"), _certificate(folder, "broker")
        self.sasl, self.tls = f"127.0.0.1:{sasl}", f"127.0.0.1:{tls}"
        self.cluster = KafkaCluster(folder)
        node = self.cluster.nodes[1]
        own = (node.folder / "server.properties").read_text()
        own = own.replace("CONTROLLER://", f"SASL://{self.sasl},TLS://{self.tls},CONTROLLER://", 1)
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        added = {
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl.plain.sasl.jaas.config": f'{login} user_takhin="secret";',
            "listener.name.tls.ssl.keystore.type": "PEM",
            "listener.name.tls.ssl.keystore.location": key,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }
        lines = "".join(f"{name}={value}\n" for name, value in added.items())
        (node.folder / "server.properties").write_text(own + lines)
        self.admin = AdminClient({"bootstrap.servers": self.cluster.bootstrap, "log_level": 0})

    def allow(self, kind: ResourceType, name: str, *operations: AclOperation) -> None:
        rules = [_rule(kind, name, operation) for operation in operations]
        for future in self.admin.create_acls(rules).values():
            future.result(30)

    def forbid(self, name: str, operation: AclOperation) -> None:
        literal = ResourcePatternType.LITERAL
        rule = AclBindingFilter(
            ResourceType.TOPIC, name, literal, "User:takhin", "*", operation, AclPermissionType.ALLOW
        )
        for future in self.admin.delete_acls([rule]).values():
            future.result(30)


def _rule(kind: ResourceType, name: str, operation: AclOperation) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if name.endswith("-") else ResourcePatternType.LITERAL
    return AclBinding(kind, name, pattern, "User:takhin", "*", operation, AclPermissionType.ALLOW)


def _certificate(folder: Path, name: str) -> Path:
    """A certificate that signs itself, and its key, in one file."""
    key, certificate, both = (folder / f"{name}.{kind}" for kind in ("key", "crt", "pem"))
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    both.write_text(key.read_text() + certificate.read_text())
    return both


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    made = Guarded(tmp_path_factory.mktemp("guarded"))
    try:
        made.cluster.start()
        yield made
    finally:
        made.cluster.close()


WRONG: dict[str, tuple[dict[str, str], str]] = {
    "password": (
        {
            "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "KAFKA_SASL_MECHANISM": "PLAIN",
            "KAFKA_SASL_USERNAME": "takhin",
            "KAFKA_SASL_PASSWORD": "wrong",
        },
        "SASL authentication error: Authentication failed: Invalid username or password",
    ),
    "authority": ({"KAFKA_SECURITY_PROTOCOL": "SSL"}, "certificate verify failed"),
    "plaintext": ({}, "if this is a port for TLS, set KAFKA_SECURITY_PROTOCOL"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_credentials_are_named_and_not_retriable(guarded: Guarded, tmp_path: Path, kind: str) -> None:
    variables, cause = WRONG[kind]
    address = guarded.sasl if kind == "password" else guarded.tls
    if kind == "authority":
        variables = {**variables, "KAFKA_SSL_CA_LOCATION": str(guarded.ca)}

    code, said = check(tmp_path / "check", address, **variables)
    assert code == 0
    assert f"No broker of KAFKA_BOOTSTRAP_SERVERS={address} answers: the Kafka cluster refused this server" in said
    assert cause in said
    assert "CONFWARN" not in said

    server = LiveServer(tmp_path / "data", TAKHIN_LOG="kafka", KAFKA_BOOTSTRAP_SERVERS=address, **variables)
    try:
        server.start()
        for answer in (server.produce("orders", [{"value": 1}]), server.http.get(f"{server.url}/api/topics/orders")):
            assert (answer.status_code, answer.json()["code"], answer.json()["retriable"]) == (
                502,
                "log_refused",
                False,
            )
            assert cause in answer.json()["detail"]
        until(lambda: cause in server.http.get(f"{server.url}/api/health/ready").text)
        assert cause in server.http.get(f"{server.url}/api/health").json()["reasons"]["log"]
        assert "CONFWARN" not in server.log.read_text()
    finally:
        server.stop()


def test_a_missing_right_on_the_receipts_is_named(guarded: Guarded, tmp_path: Path) -> None:
    """Without it, async requests were accepted and never written, and health said that all was well."""
    credentials = {**WRONG["password"][0], "KAFKA_SASL_PASSWORD": "secret"}
    topic, operation = ResourceType.TOPIC, AclOperation
    rights = (operation.DESCRIBE, operation.WRITE, operation.READ, operation.CREATE, operation.DESCRIBE_CONFIGS)
    guarded.allow(topic, "orders", *rights)
    guarded.allow(ResourceType.TRANSACTIONAL_ID, "takhin-", operation.DESCRIBE, operation.WRITE)
    guarded.allow(ResourceType.BROKER, "kafka-cluster", operation.IDEMPOTENT_WRITE)
    server = LiveServer(
        tmp_path / "data",
        TAKHIN_LOG="kafka",
        KAFKA_BOOTSTRAP_SERVERS=guarded.sasl,
        TAKHIN_KAFKA_EXACTLY_ONCE="true",
        **credentials,
    )

    def workers() -> Any:
        return server.http.get(f"{server.url}/api/health").json().get("reasons", {}).get("workers", "")

    try:
        server.start(status=503)
        until(lambda: f"Create, Describe, Write and Read on topic {RECEIPTS}" in workers())
        server.create_topic("orders", 1)
        request_id = server.produce("orders", [{"value": 1}], **{"async": "true"}).json()["requestId"]

        guarded.allow(topic, RECEIPTS, operation.CREATE, operation.DESCRIBE)
        until(lambda: f"Write and Read on topic {RECEIPTS}" in workers())
        guarded.allow(topic, RECEIPTS, operation.READ)
        until(lambda: workers() == f"grant the server's Kafka user Write on topic {RECEIPTS}")
        code, said = check(tmp_path / "check", guarded.sasl, **credentials)
        assert code == 0
        assert f"Async requests will not be written: grant the server's Kafka user Write on topic {RECEIPTS}" in said

        guarded.allow(topic, RECEIPTS, operation.WRITE)
        assert finished(server, request_id)["status"] == "completed"
        assert workers() == ""
    finally:
        server.stop()
