"""The metrics of produce requests."""

from collections import Counter as Counts

from core.metrics import Counter, Histogram, topic_label
from core.metrics.values import SECONDS
from producer.errors import RecordFailure
from producer.models.outcomes import Outcomes

REQUESTS = Counter(
    "takhin_produce_requests_total",
    "Produce requests by response. The code of one without an error is empty, as are labels that were not found out.",
    ["topic", "mode", "status", "code"],
)
RECORDS = Counter("takhin_records_total", "Records that were written, or were not.", ["topic", "outcome"])
BODY_BYTES = Counter(
    "takhin_body_bytes_total", "Bytes of produce requests, as sent and as decoded.", ["form", "content_encoding"]
)
SERIALIZATION_SECONDS = Histogram(
    "takhin_serialization_duration_seconds", "Time to serialize the records of a sync request.", SECONDS
)
APPEND_SECONDS = Histogram(
    "takhin_append_duration_seconds", "Time to append the records of a sync request, with its commit.", SECONDS
)
FINISHED = Counter(
    "takhin_async_requests_total", "Requests that workers have finished, by their status in the admin.", ["status"]
)
COMPLETION_SECONDS = Histogram(
    "takhin_async_completion_seconds",
    "Time from the acceptance of a request to its end.",
    (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600),
)
ATTEMPTS = Counter("takhin_async_attempts_total", "Attempts to write a request, by how they ended.", ["ending"])
GIVEN_UP = Counter("takhin_async_given_up_total", "Requests that were given up after too many attempts.")
QUOTA_REJECTIONS = Counter("takhin_quota_rejections_total", "Requests that were rejected by a quota.", ["quota"])


def count_records(topic: str, outcomes: Outcomes, earlier: Outcomes | None = None) -> None:
    """Count the outcomes of a request's records, except those that an earlier attempt has written."""
    if earlier is None and not outcomes.have_topics:
        # Nearly all requests.
        failed = len(outcomes.failures)
        if failed:
            RECORDS.add(topic_label(topic), "failed", amount=failed)
        if failed < len(outcomes):
            RECORDS.add(topic_label(topic), "written", amount=len(outcomes) - failed)
        return
    counts = _by_topic(topic, outcomes)
    if earlier is not None:
        before = _by_topic(topic, earlier)
        counts.subtract({place: count for place, count in before.items() if place[1] == "written"})
    for (name, outcome), count in counts.items():
        if count > 0:
            RECORDS.add(topic_label(name), outcome, amount=count)


def _by_topic(topic: str, outcomes: Outcomes) -> Counts[tuple[str, str]]:
    if not outcomes.have_topics:
        failed = len(outcomes.failures)
        return Counts({(topic, "written"): len(outcomes) - failed, (topic, "failed"): failed})
    return Counts((str(one.topic), "failed" if isinstance(one, RecordFailure) else "written") for one in outcomes)
