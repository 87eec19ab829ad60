"""What tests of Kafka stand on: brokers started once for all tests that ask, and a mock cluster for each test."""

from collections.abc import Iterator

import pytest

from devservers.kafka import KafkaCluster
from devservers.mock_kafka import MockCluster


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """One broker for all tests that only add to it."""
    cluster = KafkaCluster(tmp_path_factory.mktemp("kafka"))
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="session")
def three_brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    cluster = KafkaCluster(tmp_path_factory.mktemp("kafka-trio"), 3)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture
def kafka_trio(three_brokers: KafkaCluster) -> Iterator[KafkaCluster]:
    """Three brokers, which a test may end or pause: all run again afterwards."""
    yield three_brokers
    for node in three_brokers.nodes:
        three_brokers.resume(node)
    three_brokers.start()


@pytest.fixture
def mock_cluster() -> Iterator[MockCluster]:
    """Three brokers without topics."""
    with MockCluster(3) as cluster:
        yield cluster
