"""Measure what a request to a Kafka log costs beside librdkafka alone, with the same records in the same run.

Run it with `python -m bench.kafka`: on librdkafka's mock cluster, or on a real one with KAFKA_BOOTSTRAP_SERVERS=….
"""

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "takhin_site.settings")
os.environ["TAKHIN_DATA_DIR"] = tempfile.mkdtemp(prefix="takhin-bench-")
os.environ["TAKHIN_LOG"] = "kafka"

from bench.__main__ import bodies
from devservers.mock_kafka import MockCluster
from devservers.takhin import LiveServer

TOPIC = "bench"
HEADER = [("source", b"bench")]


def main() -> None:
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")
    if bootstrap:
        report(bootstrap, "a real cluster")
        return
    with MockCluster() as cluster:
        cluster.create_topic(TOPIC, 3)
        # The mock cannot be asked to make it.
        cluster.create_topic("_takhin_outcomes", 1)
        report(cluster.bootstrap, "librdkafka's mock cluster")


def report(bootstrap: str, what: str) -> None:
    os.environ["KAFKA_BOOTSTRAP_SERVERS"] = bootstrap
    import django

    django.setup()
    from confluent_kafka import Producer

    from topics.log import current_log
    from topics.log.errors import TopicExists
    from topics.log.kafka import properties
    from topics.log.records import Record, Write

    print(f"{what}, {os.cpu_count()} cores, one client")
    log = current_log()
    log.check()
    if "real" in what:
        with contextlib.suppress(TopicExists):
            log.create_topic(TOPIC, 3)
    log.warm()
    alone = Producer(properties.producer("none"))
    for count, times in ((1, 500), (100, 300), (1000, 100)):
        records = [Record(b"user-%d" % n, b"x" * 150, 1_767_225_600_000, list(HEADER)) for n in range(count)]

        def floor(records: list[Record] = records) -> None:
            left = len(records)

            def done(error: object, message: object) -> None:
                nonlocal left
                assert error is None, error
                left -= 1

            for record in records:
                alone.produce(
                    TOPIC,
                    record.value,
                    record.key,
                    0,
                    on_delivery=done,
                    timestamp=record.timestamp,
                    headers=record.headers,
                )
            while left:
                alone.poll(1)

        def ours(records: list[Record] = records) -> None:
            log.append([Write(TOPIC, 0, records)])

        # In turns, so that whatever else the machine does meets both.
        floor_ms, ours_ms = medians([floor, ours], times)
        print(
            f"append {count:5} records p50 {ours_ms:6.2f} ms = {ours_ms / floor_ms:4.2f} x librdkafka alone "
            f"({floor_ms:.2f} ms)  {count / ours_ms * 1000:7.0f} records/s"
        )
    log.close()
    serve(bootstrap)


def serve(bootstrap: str) -> None:
    """The same through HTTP, sync and async."""
    from pathlib import Path

    server = LiveServer(Path(os.environ["TAKHIN_DATA_DIR"]) / "server", KAFKA_BOOTSTRAP_SERVERS=bootstrap).start()
    try:
        for count, times in ((1, 300), (100, 200), (1000, 100)):
            body = bodies(count, 1)[0]

            def call(body: bytes = body) -> None:
                answer = server.http.post(f"{server.url}/api/topics/{TOPIC}/produce", body, timeout=30)
                assert answer.status_code == 200, answer.text

            (taken,) = medians([call], times)
            print(f"sync   {count:5} records p50 {taken:6.2f} ms over HTTP  {count / taken * 1000:7.0f} records/s")

        def through() -> None:
            url = f"{server.url}/api"
            answer = server.http.post(f"{url}/topics/{TOPIC}/produce?async=true", bodies(1, 1)[0], timeout=30)
            status = server.http.get(f"{url}/produce/status/{answer.json()['requestId']}?wait=30", timeout=40)
            assert status.json()["status"] == "completed", status.text

        (taken,) = medians([through], 100)
        print(f"async      1 record  p50 {taken:6.2f} ms until completed, exactly once")
    finally:
        server.stop()


def medians(calls: list[Callable[[], None]], times: int) -> list[float]:
    """Milliseconds of each one's median call, taken in turns, after a tenth of them as a warm-up."""
    taken: list[list[float]] = [[] for _ in calls]
    for number in range(times + times // 10):
        for index, call in enumerate(calls):
            started = time.perf_counter()
            call()
            if number >= times // 10:
                taken[index].append((time.perf_counter() - started) * 1000)
    return [statistics.median(one) for one in taken]


if __name__ == "__main__":
    main()
