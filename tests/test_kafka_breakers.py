"""What opens the breakers of the cluster and of its partitions, and what closes them."""

import pytest
from confluent_kafka import KafkaError

from core.errors import StorageUnavailable
from topics.log.kafka.breaker import ACKNOWLEDGED_SECONDS, MOST_PAUSE_SECONDS, MOST_QUICK, Breaker, PartitionBreakers
from topics.log.kafka.refusal import Refusal

pytestmark = pytest.mark.no_database
PLACE = ("orders", 0)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def fail(breakers: PartitionBreakers, clock: Clock, seconds: float) -> None:
    """A request takes so long and is not acknowledged."""
    sent_at = clock.now
    clock.now += seconds
    breakers.failed(PLACE, sent_at)


def test_a_cluster_that_acknowledges_records_is_not_given_up(clock: Clock) -> None:
    breaker = Breaker(clock)
    breaker.acknowledged()
    clock.now += ACKNOWLEDGED_SECONDS - 0.1
    breaker.unreachable()
    assert not breaker.is_open

    clock.now += 0.1
    breaker.unreachable()
    assert breaker.is_open
    clock.now += 7
    breaker.unreachable()
    assert breaker.seconds == 7
    breaker.acknowledged()
    assert (breaker.is_open, breaker.seconds) == (False, 0)


def test_a_cluster_that_answers_again_is_used_again(clock: Clock) -> None:
    breaker = Breaker(clock)
    breaker.unreachable()
    assert breaker.is_open
    breaker.reachable()
    assert not breaker.is_open


def test_one_timeout_opens_a_partition_for_longer_and_longer(clock: Clock) -> None:
    breakers = PartitionBreakers(clock)
    for pause in (1, 2, 4, 8, 16, MOST_PAUSE_SECONDS, MOST_PAUSE_SECONDS):
        fail(breakers, clock, 8)
        assert isinstance(breakers.error(PLACE), StorageUnavailable)
        clock.now += pause - 0.1
        assert breakers.admit(PLACE, 8) is not None
        clock.now += 0.1
        # A trial keeps others out.
        assert breakers.admit(PLACE, 8) is None
        assert "has not acknowledged records" in str(breakers.admit(PLACE, 8))
    breakers.succeeded(PLACE)
    assert breakers.error(PLACE) is breakers.admit(PLACE, 8) is None
    assert not breakers.is_failing(PLACE)


def test_requests_that_fail_together_count_once(clock: Clock) -> None:
    breakers = PartitionBreakers(clock)
    sent_at = clock.now
    clock.now += 8
    for _ in range(20):
        breakers.failed(PLACE, sent_at)

    clock.now += 1
    assert breakers.admit(PLACE, 8) is None


def test_quick_errors_open_a_partition_only_if_there_are_several(clock: Clock) -> None:
    breakers = PartitionBreakers(clock)
    for _ in range(MOST_QUICK - 1):
        fail(breakers, clock, 0.1)
        assert breakers.error(PLACE) is None
    fail(breakers, clock, 0.1)
    assert breakers.error(PLACE) is not None


def test_other_partitions_are_left_alone(clock: Clock) -> None:
    breakers = PartitionBreakers(clock)
    fail(breakers, clock, 8)
    assert breakers.error(("orders", 1)) is breakers.admit(("orders", 1), 8) is breakers.error(("other", 0)) is None


def test_a_failed_handshake_is_a_refusal_however_it_is_reported() -> None:
    refusal = Refusal()
    text = "ssl://kafka:9093/bootstrap: error:0A000086:SSL routines::certificate verify failed (after 3ms)"

    refusal.note(KafkaError(KafkaError._TRANSPORT, text))
    assert refusal.reason is not None
    assert "certificate verify failed" in refusal.reason

    refusal.note(KafkaError(KafkaError._TRANSPORT, "kafka:9093/bootstrap: Connect to ipv4#10.0.0.1:9093 failed"))
    assert refusal.reason is None
