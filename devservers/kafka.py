"""Apache Kafka itself: brokers from Maven Central in processes of their own, on ports and a folder of their own.

`python -m devservers.kafka` runs one on 127.0.0.1:9092, its data in data/kafka, until Ctrl-C.
"""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from devservers import ROOT, free_port

POM = Path(__file__).with_name("pom.xml")
VERSION = re.findall(r"<version>(.+?)</version>", POM.read_text())[0]
# A quick start and little memory matter more to tests than throughput.
JAVA = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=INFO"]


def jars() -> Path:
    """The folder of Kafka's jars, fetched once for all checkouts."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "takhin"
    folder = caches / f"kafka-{VERSION}"
    if not folder.exists():
        caches.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=caches) as whole:
            goal = ["dependency:copy-dependencies", f"-DoutputDirectory={whole}/jars"]
            subprocess.run(["mvn", "-q", "-B", "-ntp", "-f", str(POM), *goal], check=True)
            # Only a whole folder gets the name, whoever is first.
            if not folder.exists():
                Path(whole, "jars").rename(folder)
    return folder


class Node:
    """One process, broker and controller in one."""

    def __init__(self, number: int, folder: Path, port: int) -> None:
        self.number = number
        self.folder = folder
        self.address = f"127.0.0.1:{port}"
        self.controller = f"127.0.0.1:{free_port()}"
        self.log = folder / "kafka.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def java(self, *arguments: str) -> list[str]:
        return [*JAVA, "-cp", f"{jars()}/*", *arguments]

    def configure(self, cluster_id: str, properties: Mapping[str, object]) -> None:
        """Write the configuration, and format the storage unless an earlier run did."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{name}={value}\n" for name, value in properties.items()]
        (self.folder / "server.properties").write_text("".join(lines))
        if not (self.folder / "data" / "meta.properties").exists():
            tool = self.java("kafka.tools.StorageTool", "format", "-c", "server.properties")
            subprocess.run([*tool, f"--cluster-id={cluster_id}"], cwd=self.folder, check=True, capture_output=True)

    def launch(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.java("kafka.Kafka", "server.properties"),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the tests, which then end it.
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Wait until it answers clients, which it does once the controllers let it."""
        admin = AdminClient({"bootstrap.servers": self.address, "reconnect.backoff.max.ms": 100, "log_level": 0})
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert self.running, self.log.read_text()[-10_000:]
            try:
                if self.number in admin.list_topics(timeout=1).brokers:
                    return
            except KafkaException:
                pass
        raise AssertionError(self.log.read_text()[-10_000:])

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: int) -> None:
        self.signal(number)
        self.wait(120)

    def wait(self, seconds: float | None = None) -> None:
        assert self.process is not None
        self.process.wait(seconds)


class KafkaCluster:
    """Nodes 1 to `brokers`. `ports` are their listeners', free ones by default; `properties` add to or override."""

    def __init__(
        self,
        folder: Path,
        brokers: int = 1,
        ports: Sequence[int] | None = None,
        properties: Mapping[str, object] | None = None,
    ) -> None:
        ports = ports or [free_port() for _ in range(brokers)]
        self.nodes = {n: Node(n, folder.resolve() / f"node-{n}", ports[n - 1]) for n in range(1, brokers + 1)}
        self.bootstrap = ",".join(node.address for node in self.nodes.values())
        cluster_id = urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")
        for node in self.nodes.values():
            node.configure(cluster_id, self._properties(node) | dict(properties or {}))

    def _properties(self, node: Node) -> dict[str, object]:
        copies = len(self.nodes)
        needed = copies // 2 + 1
        return {
            "node.id": node.number,
            "process.roles": "broker,controller",
            "listeners": f"PLAINTEXT://{node.address},CONTROLLER://{node.controller}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": ",".join(f"{one.number}@{one.controller}" for one in self.nodes.values()),
            "log.dirs": node.folder / "data",
            "auto.create.topics.enable": False,
            # Tests write records of any age.
            "log.retention.ms": -1,
            "default.replication.factor": copies,
            "min.insync.replicas": needed,
            "offsets.topic.num.partitions": 1,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.num.partitions": 1,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": needed,
            "group.initial.rebalance.delay.ms": 0,
            "broker.heartbeat.interval.ms": 500,
            "broker.session.timeout.ms": 3000,
            # By default the cleaner alone takes 128 MiB of the heap.
            "log.cleaner.dedupe.buffer.size": 2 * 1024 * 1024,
        }

    def start(self, *nodes: int) -> "KafkaCluster":
        """Start these nodes, or all that do not run, on the data they have, and wait until they are ready."""
        chosen = [self.nodes[n] for n in nodes] or [node for node in self.nodes.values() if not node.running]
        for node in chosen:
            node.launch()
        for node in chosen:
            node.wait_until_ready()
        return self

    def kill(self, node: int) -> None:
        """kill -9, as a crash would."""
        self.nodes[node].end(signal.SIGKILL)

    def stop(self, node: int) -> None:
        """End it in order: its partitions get other leaders first."""
        self.nodes[node].end(signal.SIGTERM)

    def pause(self, node: int) -> None:
        """Keep its connections open and answer nothing."""
        self.nodes[node].signal(signal.SIGSTOP)

    def resume(self, node: int) -> None:
        self.nodes[node].signal(signal.SIGCONT)

    def leader_of(self, topic: str, partition: int) -> int:
        """The node that leads the partition; -1 when none does."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        leader: int = admin.list_topics(topic, timeout=30).topics[topic].partitions[partition].leader
        return leader

    def close(self) -> None:
        """End every node at once, without regard for its data."""
        for node in self.nodes.values():
            if node.running:
                node.end(signal.SIGKILL)


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


if __name__ == "__main__":
    main()
