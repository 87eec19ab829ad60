"""Notice why brokers refuse a client, which librdkafka tells only its error callback and its log."""

import logging
import re

from confluent_kafka import KafkaError

from topics.log.kafka import errors

# How often in a row a broker hangs up on a client's first request before that is no accident.
MOST_HANG_UPS = 2
FIRST_REQUEST = "in state APIVERSION_QUERY"


class Refusal(logging.Filter):
    """The reason, from a client's errors and log. A refused client needs other settings; waiting does not help."""

    def __init__(self) -> None:
        super().__init__()
        self.reason: str | None = None
        # What the client said last, if it is not refused but cannot connect.
        self.failure: str | None = None
        self._hang_ups = 0

    def note(self, error: KafkaError) -> None:
        """Note an error that the client reports."""
        if errors.is_refusal(error):
            self.reason = _reason(error.name(), error.str())
        elif error.code() != KafkaError._ALL_BROKERS_DOWN:
            self.clear()
            self.failure = _bare(error.str())

    def filter(self, record: logging.LogRecord) -> bool:
        """Note a line of the client's log. Only that tells of a broker that hangs up."""
        text = record.getMessage()
        if "Disconnected" in text and FIRST_REQUEST in text:
            self._hang_ups += 1
            if self._hang_ups >= MOST_HANG_UPS:
                self.reason = _reason("Disconnected", "if this is a port for TLS, set KAFKA_SECURITY_PROTOCOL")
        return True

    def clear(self) -> None:
        """Note that a broker answered, or cannot be reached at all."""
        self.reason = self.failure = None
        self._hang_ups = 0


def _reason(name: str, text: str) -> str:
    return f"the Kafka cluster refused this server ({name}: {_bare(text)})"


def _bare(text: str) -> str:
    """Return an error without the broker's name and the timing before and behind it."""
    return re.sub(r"^\S+/(bootstrap|\d+): |\s*\(after [^)]*\)", "", text)
