"""Measure what it costs to count one request with one record, in microseconds of processor time."""

import os
import tempfile
import time

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "takhin_site.settings")
os.environ.setdefault("TAKHIN_DATA_DIR", tempfile.mkdtemp(prefix="takhin-bench-"))
import django

django.setup()

from django.http import HttpRequest

from core import metrics
from core.database.measures import COMMIT_GROUP, COMMIT_SECONDS
from core.facts import Facts
from producer.measures import APPEND_SECONDS, BODY_BYTES, SERIALIZATION_SECONDS, count_records
from producer.models import Outcomes
from takhin_site import observation
from topics.log.measures import PLAIN_BYTES, STORED_BYTES
from topics.log.records import RecordMetadata

TIMES = 20_000
ROUNDS = 7


def count(request: HttpRequest, facts: Facts, outcomes: Outcomes) -> None:
    """Everything that a sync request counts, as its code does."""
    BODY_BYTES.add("sent", "identity", amount=70)
    BODY_BYTES.add("decoded", "identity", amount=70)
    SERIALIZATION_SECONDS.observe(0.0001)
    PLAIN_BYTES.add("none", amount=90)
    STORED_BYTES.add("none", amount=90)
    COMMIT_SECONDS.observe(0.001)
    COMMIT_GROUP.observe(1)
    APPEND_SECONDS.observe(0.001)
    count_records("orders", outcomes)
    observation.observe(request, 200, 0.002, facts, "127.0.0.1")


def microseconds() -> float:
    metrics.share()
    request = HttpRequest()
    request.path_info = "/api/topics/orders/produce"
    facts, outcomes = Facts(topic="orders", mode="sync"), Outcomes([RecordMetadata(0, 1, 2)])
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(TIMES):
            count(request, facts, outcomes)
        rounds.append((time.process_time() - began) / TIMES * 1e6)
    return min(rounds)


if __name__ == "__main__":
    print(f"{microseconds():.2f}")
