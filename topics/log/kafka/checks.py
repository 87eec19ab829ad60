"""System checks for the Kafka settings."""

import ipaddress
from collections.abc import Iterator

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from django.conf import settings
from django.core import checks

from core.errors import StorageError
from topics.log.errors import LogRefused
from topics.log.kafka import errors, properties, receipts
from topics.log.kafka.administration import Administration
from topics.log.kafka.refusal import Refusal

ANSWER_SECONDS = (0.8, 2.2)


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
    # Without a broker address, neither client connects. The level keeps them from warning of that.
    offline = {"bootstrap.servers": "", "log_level": 3}
    try:
        Producer({**properties.producer("none"), **offline}).close()
        properties.new_consumer(offline).close()
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
    refusal = Refusal()
    admin = AdminClient(properties.admin(refusal))
    try:
        _ask(admin, refusal)
    except KafkaException as error:
        brokers = f"KAFKA_BOOTSTRAP_SERVERS={settings.KAFKA['bootstrap.servers']}"
        reason = refusal.reason or refusal.failure or errors.kafka_error(error).str()
        yield checks.Warning(f"No broker of {brokers} answers: {reason}.", id="takhin.W002")
    else:
        yield from _rights(admin)


def _ask(admin: AdminClient, refusal: Refusal) -> None:
    """Ask twice, because the client tells why it cannot connect only between calls. Raises KafkaException."""
    first, second = ANSWER_SECONDS
    try:
        admin.list_topics(timeout=first)
    except KafkaException:
        admin.poll(0)
        if refusal.reason:
            raise
        try:
            admin.list_topics(timeout=second)
        finally:
            admin.poll(0)


def _rights(admin: AdminClient) -> Iterator[checks.CheckMessage]:
    if not settings.TAKHIN_KAFKA_EXACTLY_ONCE:
        return
    try:
        receipts.check_rights(Administration(admin))
    except LogRefused as error:
        yield checks.Warning(f"Async requests will not be written: {error}.", id="takhin.W009")
    except StorageError:
        # The cluster has answered before. Health reports what follows.
        return


def _variable(name: str) -> str:
    return "KAFKA_" + name.upper().replace(".", "_")
