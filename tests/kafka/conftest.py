"""What tests of Kafka stand on."""

from collections.abc import Iterator

import pytest

from tests.kafka.mock import MockCluster


@pytest.fixture
def mock_cluster() -> Iterator[MockCluster]:
    """Three brokers without topics."""
    with MockCluster(3) as cluster:
        yield cluster
