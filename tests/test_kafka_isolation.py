"""A topic, a partition or a broker in trouble affects only requests that need it."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from confluent_kafka.admin import AdminClient, NewTopic

from devservers.kafka import KafkaCluster
from devservers.takhin import LiveServer
from tests.kafka.reading import read_all
from tests.test_kafka_outages import finished, start, until

__all__ = ["start"]
pytestmark = [pytest.mark.no_database, pytest.mark.kafka]


def create(cluster: KafkaCluster, name: str, partitions: int = 1, replicas: int = 3, **config: str) -> str:
    properties = {key.replace("_", "."): value for key, value in config.items()}
    new = NewTopic(name, partitions, replicas, config=properties)
    client = admin(cluster)
    client.create_topics([new])[name].result(30)
    return name


def admin(cluster: KafkaCluster) -> AdminClient:
    return AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0, "socket.timeout.ms": 3000})


def accept(server: LiveServer, topic: str, value: Any) -> str:
    answer = server.produce(topic, [{"value": value}], **{"async": "true"})
    assert answer.status_code == 202, answer.text
    request_id: str = answer.json()["requestId"]
    return request_id


def use(server: LiveServer, *topics: str) -> None:
    """Write to the topics, sync and async, so that every client and session is open."""
    for topic in topics:
        assert post(server, topic, "first").status_code == 200
    accepted = [accept(server, topic, "first") for topic in topics for _ in range(5)]
    assert [finished(server, one)["status"] for one in accepted] == ["completed"] * len(accepted)


def status(server: LiveServer, request_id: str) -> str:
    found: str = server.http.get(f"{server.url}/api/produce/status/{request_id}", timeout=10).json()["status"]
    return found


def at_once(count: int, call: Callable[[], requests.Response]) -> list[requests.Response]:
    with ThreadPoolExecutor(count) as pool:
        return [one.result() for one in [pool.submit(call) for _ in range(count)]]


def post(server: LiveServer, topic: str, value: Any = 1) -> requests.Response:
    return requests.post(f"{server.url}/api/topics/{topic}/produce", json={"records": [{"value": value}]}, timeout=60)


def test_a_topic_with_too_few_replicas_affects_only_itself(
    kafka_trio: KafkaCluster, start: Callable[[KafkaCluster], LiveServer]
) -> None:
    sick = create(kafka_trio, "isr-three", min_insync_replicas="3")
    healthy = create(kafka_trio, "isr-two", min_insync_replicas="2")
    server = start(kafka_trio)
    use(server, sick, healthy)
    kafka_trio.kill(3)
    until(lambda: in_sync(kafka_trio, sick) == in_sync(kafka_trio, healthy) == 2)

    waiting = [accept(server, sick, n) for n in range(3)]
    others = [accept(server, healthy, n) for n in range(20)]
    assert [finished(server, one)["status"] for one in others] == ["completed"] * 20
    assert [status(server, one) for one in waiting] == ["pending"] * 3

    answers = at_once(20, lambda: post(server, sick))
    assert {answer.status_code for answer in answers} == {503}
    assert "has too few in-sync replicas: 2, and min.insync.replicas is 3" in answers[-1].json()["offsets"][0]["error"]
    assert {post(server, healthy).status_code for _ in range(20)} == {200}
    assert server.http.get(f"{server.url}/api/health", timeout=10).status_code == 200

    kafka_trio.start(3)
    assert [finished(server, one)["status"] for one in waiting] == ["completed"] * 3
    until(lambda: post(server, sick).status_code == 200)
    values = Counter(record.value for record in read_all(kafka_trio.bootstrap, sick))
    assert [values[b"%d" % n] for n in (0, 2)] == [1, 1]


def test_a_partition_that_hangs_affects_only_itself(
    kafka_trio: KafkaCluster, start: Callable[[KafkaCluster], LiveServer]
) -> None:
    """Its only replica is on a broker that hangs. Nobody knows that until the controllers notice."""
    healthy = create(kafka_trio, "hang-none", 3)
    single = create(kafka_trio, "hang-single", 6, replicas=1)
    server = start(kafka_trio)
    use(server, single, healthy)
    leaders = {n: kafka_trio.leader_of(single, n) for n in range(6)}
    sick = leaders[0]
    number = next(n for n, leader in leaders.items() if leader == sick)
    kafka_trio.pause(sick)

    def produce() -> requests.Response:
        return requests.post(
            f"{server.url}/api/topics/{single}/produce",
            json={"records": [{"value": "s", "partition": number}]},
            timeout=60,
        )

    waiting = [
        server.produce(single, [{"value": n, "partition": number}], **{"async": "true"}).json()["requestId"]
        for n in range(3)
    ]
    others = [accept(server, healthy, n) for n in range(20)]
    assert [finished(server, one)["status"] for one in others] == ["completed"] * 20
    assert [status(server, one) for one in waiting] == ["pending"] * 3
    answers = at_once(20, produce)
    assert {answer.status_code for answer in answers} <= {503, 504}
    assert {post(server, healthy).status_code for _ in range(20)} == {200}

    kafka_trio.resume(sick)
    assert [finished(server, one)["status"] for one in waiting] == ["completed"] * 3
    values = Counter(record.value for record in read_all(kafka_trio.bootstrap, single))
    assert [values[b"%d" % n] for n in range(3)] == [1, 1, 1]


def test_a_topic_deleted_by_others_is_404_at_once(
    kafka_trio: KafkaCluster, start: Callable[[KafkaCluster], LiveServer]
) -> None:
    doomed = create(kafka_trio, "doomed", 3)
    healthy = create(kafka_trio, "doomed-not")
    server = start(kafka_trio)
    use(server, doomed, healthy)
    client = admin(kafka_trio)
    client.delete_topics([doomed])[doomed].result(30)

    # The server may not know it yet.
    accepted = server.produce(doomed, [{"value": 1}], **{"async": "true"})
    answers = at_once(10, lambda: post(server, doomed))
    assert {answer.status_code for answer in answers} == {404}
    assert {answer.json()["retriable"] for answer in answers} == {False}
    assert {post(server, healthy).status_code for _ in range(5)} == {200}
    assert finished(server, accept(server, healthy, 1))["status"] == "completed"
    if accepted.status_code == 202:
        assert finished(server, accepted.json()["requestId"])["status"] == "failed"


@pytest.mark.parametrize("broker", [1, 2, 3])
def test_a_broker_that_hangs_affects_nobody(
    kafka_trio: KafkaCluster, start: Callable[[KafkaCluster], LiveServer], broker: int
) -> None:
    topic = create(kafka_trio, f"hangs-{broker}", 6)
    server = start(kafka_trio)
    assert post(server, topic).status_code == 200
    kafka_trio.pause(broker)
    until(lambda: all(leader_of(kafka_trio, broker, topic, n) not in (broker, -1) for n in range(6)))

    stopping = threading.Event()
    seen: list[int] = []

    def load() -> None:
        while not stopping.wait(0.02):
            seen.append(post(server, topic).status_code)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(12)
    stopping.set()
    for thread in threads:
        thread.join()
    assert Counter(seen).keys() == {200}


def in_sync(cluster: KafkaCluster, topic: str) -> int:
    return len(admin(cluster).list_topics(topic, timeout=10).topics[topic].partitions[0].isrs)


def leader_of(cluster: KafkaCluster, hanging: int, topic: str, partition: int) -> int:
    """Ask a broker that does not hang."""
    address = next(node.address for number, node in cluster.nodes.items() if number != hanging)
    found = AdminClient({"bootstrap.servers": address, "log_level": 0, "socket.timeout.ms": 1000})
    leader: int = found.list_topics(topic, timeout=10).topics[topic].partitions[partition].leader
    return leader
