"""Gather what a request's page shows."""

from datetime import datetime
from typing import Any

import msgspec
from django.http import HttpRequest
from django.utils import timezone

from core.admin.times import ago
from core.formatting import instant
from producer.admin import operations, repeat, story
from producer.models import MAX_ATTEMPTS, IdempotencyKey, ProduceRequest, RequestMode, Status, attempts_in
from producer.pipeline import parameters
from producer.pipeline.dialects import DIALECTS
from topics.admin import record_links
from topics.admin.rendering import show

MOST_RESULTS = 100
LEVELS = ((1.0, "ms", 1000.0), (60.0, "s", 1.0), (3600.0, "min", 1 / 60), (float("inf"), "h", 1 / 3600))


def lasted(start: datetime | None, end: datetime | None) -> str:
    """Return the time between in a suitable unit, or an empty string if one end is missing."""
    if start is None or end is None:
        return ""
    seconds = (end - start).total_seconds()
    unit, factor = next((unit, factor) for below, unit, factor in LEVELS if seconds < below)
    return f"{seconds * factor:.1f} {unit}"


def request_context(row: ProduceRequest, request: HttpRequest, *, may_see_payload: bool) -> dict[str, Any]:
    """Return what happened to a request and what to do, its results, timeline, parameters and payload."""
    has_body = row.body is not None
    return {
        "row": row,
        "story": story.of(row),
        "timeline": _timeline(row),
        "earlier": [(attempt, ago(attempt.at)) for attempt in reversed(attempts_in(row.earlier))],
        "parameters": _parameters(row),
        "has_body": has_body,
        "may_see_payload": may_see_payload,
        "payload": show(row.read_body()) if has_body and may_see_payload else None,
        "curl": repeat.curl(row, request) if has_body and may_see_payload else "",
        "may_retry": row.status in (*operations.NOT_WRITTEN, Status.CANCELLED) and has_body,
        "may_cancel": row.status == Status.PENDING,
        **_results(row),
    }


def _timeline(row: ProduceRequest) -> list[tuple[str, str]]:
    events = [("Created", instant(row.created_at))]
    if row.started_at is not None:
        events.append(("Last claimed" if row.attempts else "Started", instant(row.started_at)))
    if row.lease_until is not None:
        events.append(
            ("Claimed until" if row.lease_until > timezone.now() else "Claim expired", instant(row.lease_until))
        )
    if row.completed_at is not None:
        events.append((row.get_status_display(), instant(row.completed_at)))
    is_queued = row.mode == RequestMode.ASYNC or row.claims
    events.append(("Attempts", f"{row.attempts} of {MAX_ATTEMPTS}" if is_queued else "none (synchronous)"))
    events.append(("Duration", lasted(row.created_at, row.completed_at) or "not finished"))
    return events


def _parameters(row: ProduceRequest) -> list[tuple[str, str]]:
    used = [("Idempotency-Key", used.text) for used in IdempotencyKey.objects.filter(request_id=row.pk)]
    if not used and row.idempotency_key is not None:
        used = [("Idempotency-Key", row.idempotency_key.partition(":")[2])]
    return [*parameters.shown(row.read_options()), ("body", DIALECTS[row.dialect].content_types[0]), *used]


def _results(row: ProduceRequest) -> dict[str, Any]:
    """Return the results of up to MOST_RESULTS records, failed ones first."""
    stored = row.read_outcomes()
    if stored is None:
        return {"results": []}
    outcomes = list(enumerate(msgspec.json.decode(stored)))
    chosen = sorted(outcomes, key=lambda entry: "error" not in entry[1])[:MOST_RESULTS]
    results = [
        {"index": index, "topic": row.topic, **outcome, "address": _address(outcome.get("topic", row.topic), outcome)}
        for index, outcome in chosen
    ]
    return {"results": results, "result_count": len(outcomes)}


def _address(topic: str, outcome: dict[str, Any]) -> str:
    if "offset" not in outcome:
        return ""
    return record_links.address(outcome.get("topic", topic), outcome["partition"], outcome["offset"])
