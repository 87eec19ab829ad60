"""Convert Kafka's errors to the log's errors. Only this module knows Kafka's error codes."""

from confluent_kafka import KafkaError, KafkaException

from core.errors import OutcomeUnknown, StorageError, StorageUnavailable
from topics.log.errors import DeliveryFailed, InvalidTopic, LogRefused, TopicExists, TopicNotFound

# The broker or the client rejected the record, and would reject it again.
REFUSED = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.INVALID_REQUIRED_ACKS,
    KafkaError.POLICY_VIOLATION,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.UNKNOWN_TOPIC_ID,
    KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._INVALID_ARG,
}
# The broker rejects a whole batch because of its size or one record. librdkafka does not split it (KIP-126), and gives
# all records the same error unless several of them are invalid (KIP-467).
OF_BATCH = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError._INVALID_DIFFERENT_RECORD,
}
# The client's metadata does not contain the topic or the partition.
UNKNOWN_PLACE = {KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
# Nothing was written, and the record may be retried.
NOT_WRITTEN = {
    KafkaError._QUEUE_FULL,
    KafkaError._PURGE_QUEUE,
    KafkaError._INVALID_DIFFERENT_RECORD,
    KafkaError.THROTTLING_QUOTA_EXCEEDED,
}
# The producer is no longer usable.
DEAD = {KafkaError._FATAL, KafkaError._FENCED, KafkaError._STATE, KafkaError._CONFLICT}

_TOPIC_ERRORS: dict[int, type[StorageError]] = {
    KafkaError.TOPIC_EXCEPTION: InvalidTopic,
    KafkaError.INVALID_PARTITIONS: InvalidTopic,
    KafkaError.INVALID_REPLICATION_FACTOR: InvalidTopic,
    KafkaError.INVALID_CONFIG: InvalidTopic,
    KafkaError.INVALID_REQUEST: InvalidTopic,
    KafkaError.POLICY_VIOLATION: InvalidTopic,
}
_FORBIDDEN = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError.SECURITY_DISABLED,
    KafkaError.TOPIC_DELETION_DISABLED,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError._UNSUPPORTED_FEATURE,
}


def kafka_error(error: KafkaException | KafkaError) -> KafkaError:
    """Return the KafkaError of an exception."""
    if isinstance(error, KafkaError):
        return error
    inner: KafkaError = error.args[0]
    return inner


def name_of(error: KafkaError) -> str:
    """Return Kafka's name of the error as a code: `_MSG_TIMED_OUT` is `msg_timed_out`."""
    return str(error.name()).lstrip("_").lower()


def of_record(error: KafkaError, is_queued: bool = True) -> StorageError:
    """Return the log's error for a record that was not acknowledged. A record that was not queued was not written.

    librdkafka knows whether a record that timed out was ever sent (`rd_kafka_message_status`), but its Python client
    does not expose that. So the outcome is unknown unless the record was definitely rejected.
    """
    code = error.code()
    if code in REFUSED:
        return DeliveryFailed(error.str(), name_of(error), retriable=False)
    if code in NOT_WRITTEN or not is_queued:
        return DeliveryFailed(error.str(), name_of(error), retriable=True)
    return OutcomeUnknown(f"Kafka did not acknowledge the record ({error.name()}: {error.str()})")


def of_call(error: KafkaException, topic: str = "") -> StorageError:
    """Return the log's error for a failed call about a topic or the cluster; such calls write no records."""
    kafka = kafka_error(error)
    code = kafka.code()
    if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_ID):
        return TopicNotFound(topic)
    if code == KafkaError.TOPIC_ALREADY_EXISTS:
        return TopicExists(topic)
    if code in _TOPIC_ERRORS:
        return _TOPIC_ERRORS[code](f"Kafka rejected the request ({kafka.name()}: {kafka.str()})")
    if code in _FORBIDDEN:
        return LogRefused(f"the Kafka cluster refused this server ({kafka.name()}: {kafka.str()})")
    return StorageUnavailable(f"the Kafka cluster did not answer ({kafka.name()}: {kafka.str()})")


OF_OPENSSL = ":SSL routines:"


def is_refusal(error: KafkaError) -> bool:
    """Tell whether a broker refuses this client, so that only other settings help."""
    if error.code() in {KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED}:
        return True
    # Depending on which side notices first, the client reports a failed handshake as a lost connection.
    return OF_OPENSSL in error.str()


_LEADERLESS = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
    # "Failed to query partition leaders"
    KafkaError._NOENT,
}


def is_unsupported(error: BaseException) -> bool:
    """Tell whether a call failed because the cluster does not know it."""
    cause = error.__cause__
    unsupported = {KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION}
    return isinstance(cause, KafkaException) and kafka_error(cause).code() in unsupported


def is_leaderless(error: KafkaException) -> bool:
    """Tell whether a partition had no leader, or its leader had changed."""
    return kafka_error(error).code() in _LEADERLESS


def is_transient(error: KafkaError) -> bool:
    """Tell whether a consumer recovers from this error by itself."""
    return error.code() in {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        *_LEADERLESS,
    }
