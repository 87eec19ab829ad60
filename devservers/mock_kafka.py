"""librdkafka's own mock cluster: Kafka's protocol over TCP, with errors, delays and outages to order."""

import ctypes
from enum import IntEnum
from types import TracebackType

from confluent_kafka import KafkaError, KafkaException, cimpl

# Symbols of the librdkafka that the extension is linked with are found through the extension itself.
_LIBRDKAFKA = ctypes.CDLL(cimpl.__file__)
_PRODUCER = 0
_ALL_BROKERS = -1


class ApiKey(IntEnum):
    """Kinds of requests: https://kafka.apache.org/protocol#protocol_api_keys."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    FIND_COORDINATOR = 10
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TRANSACTION = 24
    END_TRANSACTION = 26


def _function(name: str, result: type | None, *arguments: type) -> "ctypes._NamedFuncPointer":
    function = _LIBRDKAFKA[f"rd_kafka_{name}"]
    function.restype, function.argtypes = result, arguments
    return function


# https://github.com/confluentinc/librdkafka/blob/master/src/rdkafka_mock.h
_handle, _text, _size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
_int16, _int32 = ctypes.c_int16, ctypes.c_int32
_new = _function("new", _handle, _int32, _handle, _text, _size)
_destroy = _function("destroy", None, _handle)
_cluster_new = _function("mock_cluster_new", _handle, _handle, _int32)
_cluster_destroy = _function("mock_cluster_destroy", None, _handle)
_bootstraps = _function("mock_cluster_bootstraps", _text, _handle)
_topic_create = _function("mock_topic_create", _int32, _handle, _text, _int32, _int32)
_topic_delete = _function("mock_topic_delete", _int32, _handle, _text)
_topic_set_error = _function("mock_topic_set_error", None, _handle, _text, _int32)
_set_leader = _function("mock_partition_set_leader", _int32, _handle, _text, _int32, _int32)
_set_down = _function("mock_broker_set_down", _int32, _handle, _int32)
_set_up = _function("mock_broker_set_up", _int32, _handle, _int32)
_set_rtt = _function("mock_broker_set_rtt", _int32, _handle, _int32, _int32)
_set_controller = _function("mock_set_controller_id", _int32, _handle, _int32)
_set_coordinator = _function("mock_coordinator_set", _int32, _handle, _text, _text, _int32)
_push_errors = _function("mock_push_request_errors_array", None, _handle, _int16, _size, ctypes.POINTER(_int32))
_clear_errors = _function("mock_clear_request_errors", None, _handle, _int16)


def _check(error: int) -> None:
    if error:
        raise KafkaException(KafkaError(error))


class MockCluster:
    """Brokers 1 to `brokers`, reached from any process at `bootstrap` until closed.

    It knows producing, fetching, offsets, groups and transactions, but does not administer topics: they come from
    `create_topic`, or, with four partitions, from a client's metadata request that may create them. Deliveries have
    the timestamp 1234, aborted records stay readable, and an idempotent record sent again is stored again.
    Errors are codes of confluent_kafka.KafkaError.
    """

    def __init__(self, brokers: int = 1) -> None:
        message = ctypes.create_string_buffer(512)
        self._client = _new(_PRODUCER, None, message, len(message))
        assert self._client, message.value.decode()
        self._cluster = _cluster_new(self._client, brokers)
        # Without a controller every call of an AdminClient waits for one until it times out.
        _check(_set_controller(self._cluster, 1))
        self.bootstrap: str = _bootstraps(self._cluster).decode()

    def __enter__(self) -> "MockCluster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def create_topic(self, name: str, partitions: int, replication: int = 1) -> None:
        _check(_topic_create(self._cluster, name.encode(), partitions, replication))

    def delete_topic(self, name: str) -> None:
        _check(_topic_delete(self._cluster, name.encode()))

    def fail_topic(self, name: str, error: int) -> None:
        """Answer `error` for this topic in metadata, until it is 0 again."""
        _topic_set_error(self._cluster, name.encode(), error)

    def move_leader(self, topic: str, partition: int, broker: int) -> None:
        """Let `broker` lead the partition; -1 leaves it without a leader, for clients that never knew one.

        A produce request for a partition without a leader crashes librdkafka 2.16.
        """
        _check(_set_leader(self._cluster, topic.encode(), partition, broker))

    def move_transaction_coordinator(self, transactional_id: str, broker: int) -> None:
        _check(_set_coordinator(self._cluster, b"transaction", transactional_id.encode(), broker))

    def stop_broker(self, broker: int) -> None:
        """Disconnect everyone and refuse connections; leaders stay where they are."""
        _check(_set_down(self._cluster, broker))

    def start_broker(self, broker: int) -> None:
        _check(_set_up(self._cluster, broker))

    def stop_all(self) -> None:
        self.stop_broker(_ALL_BROKERS)

    def start_all(self) -> None:
        self.start_broker(_ALL_BROKERS)

    def set_round_trip(self, milliseconds: int) -> None:
        """Delay every answer of every broker."""
        _check(_set_rtt(self._cluster, _ALL_BROKERS, milliseconds))

    def push_errors(self, api_key: int, *errors: int) -> None:
        """Fail the next requests of a kind, one error each; KafkaError._TRANSPORT hangs up instead of answering."""
        _push_errors(self._cluster, api_key, len(errors), (_int32 * len(errors))(*errors))

    def clear_errors(self, api_key: int) -> None:
        _clear_errors(self._cluster, api_key)

    def close(self) -> None:
        if self._cluster is not None:
            _cluster_destroy(self._cluster)
            _destroy(self._client)
            self._cluster = None
