"""What librdkafka tells about a producer every ten seconds.

https://github.com/confluentinc/librdkafka/blob/master/STATISTICS.md
"""

import msgspec
import structlog

from core.metrics import Counter

log = structlog.get_logger("takhin.kafka")
DELIVERIES = Counter(
    "takhin_kafka_deliveries_total", "Records that brokers acknowledged, or with an error rejected.", ["error"]
)


class Window(msgspec.Struct, frozen=True):
    """Microseconds."""

    avg: int = 0
    p99: int = 0


class Broker(msgspec.Struct, frozen=True):
    nodeid: int = -1
    rtt: Window = Window()


class Reported(msgspec.Struct, frozen=True):
    msg_cnt: int = 0
    msg_size: int = 0
    brokers: dict[str, Broker] = {}


_decode = msgspec.json.Decoder(Reported).decode


class Statistics:
    """The last statistics of one producer."""

    def __init__(self) -> None:
        self.last = Reported()

    def note(self, text: str) -> None:
        """Called by the thread that polls the producer."""
        try:
            self.last = _decode(text)
        except msgspec.MsgspecError as error:
            log.warning("statistics_not_read", error=str(error))
