"""The mock cluster does to a plain client what tests of the product rely on."""

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from devservers.mock_kafka import ApiKey, MockCluster
from tests.kafka.reading import read_all

pytestmark = pytest.mark.no_database


class Deliveries:
    """A producer of one topic and what came of its records: an offset, or an error's code."""

    def __init__(self, cluster: MockCluster, **properties: object) -> None:
        self.producer = Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 0, "log_level": 0, **properties})
        self.outcomes: list[int] = []

    def produce(self, value: bytes | None, **members: object) -> "Deliveries":
        self.producer.produce("orders", value, partition=0, on_delivery=self.note, **members)
        return self

    def note(self, error: KafkaError | None, message: Message) -> None:
        self.outcomes.append(message.offset() if error is None else error.code())

    def flush(self) -> list[int]:
        assert self.producer.flush(30) == 0
        return self.outcomes


@pytest.fixture
def orders(mock_cluster: MockCluster) -> Deliveries:
    mock_cluster.create_topic("orders", 1, replication=3)
    mock_cluster.move_leader("orders", 0, 1)
    return Deliveries(mock_cluster)


def test_it_works(mock_cluster: MockCluster, orders: Deliveries) -> None:
    headers = [("a", b"1"), ("a", None)]
    orders.produce(b"v", key=b"k", headers=headers, timestamp=1700000000000).produce(None, timestamp=1)

    assert orders.flush() == [0, 1]
    assert read_all(mock_cluster.bootstrap, "orders") == [
        (0, 0, 1700000000000, b"k", b"v", headers),
        (0, 1, 1, None, None, []),
    ]


def test_an_error_that_ends_a_record(mock_cluster: MockCluster, orders: Deliveries) -> None:
    mock_cluster.push_errors(ApiKey.PRODUCE, KafkaError.MSG_SIZE_TOO_LARGE)

    assert orders.produce(b"big").flush() == [KafkaError.MSG_SIZE_TOO_LARGE]
    assert orders.produce(b"small").flush() == [KafkaError.MSG_SIZE_TOO_LARGE, 0]


def test_errors_that_are_tried_again(mock_cluster: MockCluster, orders: Deliveries) -> None:
    mock_cluster.push_errors(ApiKey.PRODUCE, KafkaError.NOT_ENOUGH_REPLICAS, KafkaError._TRANSPORT)

    assert orders.produce(b"patient").flush() == [0]


def test_errors_are_cleared(mock_cluster: MockCluster, orders: Deliveries) -> None:
    mock_cluster.push_errors(ApiKey.PRODUCE, *[KafkaError.MSG_SIZE_TOO_LARGE] * 3)
    mock_cluster.clear_errors(ApiKey.PRODUCE)

    assert orders.produce(b"v").flush() == [0]


def test_a_broker_stops_and_starts(mock_cluster: MockCluster, orders: Deliveries) -> None:
    impatient = Deliveries(mock_cluster, **{"message.timeout.ms": 500})
    impatient.produce(b"before").flush()
    mock_cluster.stop_broker(1)

    assert impatient.produce(b"lost").flush() == [0, KafkaError._MSG_TIMED_OUT]

    orders.produce(b"waiting")
    mock_cluster.start_broker(1)
    assert orders.flush() == [1]


def test_all_brokers_stop_and_start(mock_cluster: MockCluster, orders: Deliveries) -> None:
    mock_cluster.stop_all()
    with pytest.raises(KafkaException) as caught:
        orders.producer.list_topics("orders", timeout=0.5)
    assert caught.value.args[0].code() == KafkaError._TRANSPORT

    mock_cluster.start_all()
    assert orders.produce(b"v").flush() == [0]


def test_a_leader_moves(mock_cluster: MockCluster, orders: Deliveries) -> None:
    orders.produce(b"to 1").flush()
    mock_cluster.move_leader("orders", 0, 2)
    mock_cluster.stop_broker(1)

    assert orders.produce(b"to 2").flush() == [0, 1]


def test_answers_later_than_their_timeout(mock_cluster: MockCluster, orders: Deliveries) -> None:
    slow = Deliveries(mock_cluster, **{"message.timeout.ms": 300})
    slow.produce(b"fast").flush()
    mock_cluster.set_round_trip(60_000)

    assert slow.produce(b"slow").flush() == [0, KafkaError._MSG_TIMED_OUT]

    mock_cluster.set_round_trip(0)
    assert [record.value for record in read_all(mock_cluster.bootstrap, "orders")] == [b"fast", b"slow"]


def test_a_topic_that_may_not_be_described(mock_cluster: MockCluster, orders: Deliveries) -> None:
    mock_cluster.fail_topic("orders", KafkaError.TOPIC_AUTHORIZATION_FAILED)

    error = orders.producer.list_topics("orders", timeout=10).topics["orders"].error
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_topics_come_and_go(mock_cluster: MockCluster) -> None:
    admin = AdminClient({"bootstrap.servers": mock_cluster.bootstrap, "allow.auto.create.topics": False})
    mock_cluster.create_topic("orders", 5)
    assert len(admin.list_topics(timeout=10).topics["orders"].partitions) == 5

    mock_cluster.delete_topic("orders")
    error = admin.list_topics("orders", timeout=10).topics["orders"].error
    assert error is not None
    assert error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_transaction(mock_cluster: MockCluster, orders: Deliveries) -> None:
    mock_cluster.move_transaction_coordinator("sender", 3)
    sender = Deliveries(mock_cluster, **{"transactional.id": "sender"})
    sender.producer.init_transactions(30)
    mock_cluster.push_errors(ApiKey.END_TRANSACTION, KafkaError.CONCURRENT_TRANSACTIONS)

    sender.producer.begin_transaction()
    sender.produce(b"v")
    sender.producer.commit_transaction(30)

    assert sender.outcomes == [0]
