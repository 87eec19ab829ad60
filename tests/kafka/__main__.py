"""Run a development broker on 127.0.0.1:9092, its data in data/kafka, until Ctrl-C."""

import contextlib
import signal

from tests.kafka.cluster import KafkaCluster
from tests.live import ROOT


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cluster = KafkaCluster(ROOT / "data" / "kafka", ports=[9092])
    with contextlib.suppress(KeyboardInterrupt):
        try:
            cluster.start()
            print(f"Kafka is ready: TAKHIN_LOG=kafka KAFKA_BOOTSTRAP_SERVERS={cluster.bootstrap} make run", flush=True)
            cluster.nodes[1].wait()
        finally:
            cluster.stop(1)


main()
