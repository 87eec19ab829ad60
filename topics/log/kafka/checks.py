"""System checks for the Kafka settings."""

import ipaddress
from collections.abc import Iterator

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from django.conf import settings
from django.core import checks

from topics.log.kafka import errors, properties

ANSWER_SECONDS = 3.0


def judge() -> Iterator[checks.CheckMessage]:
    """Yield errors in the settings; if there are none, yield warnings."""
    refused = list(_properties())
    yield from refused
    if not refused:
        yield from _transport()
        yield from _reachable()


def _properties() -> Iterator[checks.CheckMessage]:
    for name in sorted(settings.KAFKA.keys() & properties.OWN.keys()):
        yield checks.Error(f"{_variable(name)} cannot be set: {properties.OWN[name]}.", id="takhin.E007")
    try:
        # Without a broker address, neither client connects.
        Producer({**properties.producer("none"), "bootstrap.servers": ""}).close()
        properties.new_consumer({"bootstrap.servers": ""}).close()
    except KafkaException as error:
        yield checks.Error(
            f"librdkafka rejects the KAFKA_ properties: {errors.kafka_error(error).str()}.",
            hint="https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md",
            id="takhin.E006",
        )


def _transport() -> Iterator[checks.CheckMessage]:
    hosts = [address.rpartition(":")[0] or address for address in settings.KAFKA["bootstrap.servers"].split(",")]
    remote = [host.strip() for host in hosts if not _is_local(host.strip())]
    protocol = settings.KAFKA.get("security.protocol", "plaintext").lower()
    if remote and protocol in ("plaintext", "sasl_plaintext"):
        yield checks.Warning(
            f"Records are sent to {remote[0]} unencrypted; set KAFKA_SECURITY_PROTOCOL to SSL or SASL_SSL.",
            id="takhin.W003",
        )


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _reachable() -> Iterator[checks.CheckMessage]:
    try:
        AdminClient(properties.common()).list_topics(timeout=ANSWER_SECONDS)
    except KafkaException as error:
        yield checks.Warning(
            f"No broker of KAFKA_BOOTSTRAP_SERVERS={settings.KAFKA['bootstrap.servers']} answers: "
            f"{errors.kafka_error(error).str()}.",
            id="takhin.W002",
        )


def _variable(name: str) -> str:
    return "KAFKA_" + name.upper().replace(".", "_")
