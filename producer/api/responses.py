"""The responses to produce requests."""

from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from rest_framework.response import Response

from core.api import media, problems
from core.errors import OutcomeUnknown
from core.facts import facts_of
from producer.errors import IdempotencyKeyInUse, RecordFailure
from producer.models import STATUS_FOR_CLIENTS, IdempotencyKey, Outcomes, ProduceRequest, Status
from producer.options import Options
from producer.pipeline.dialects import Dialect
from topics.log.errors import NotAttempted

REPLAYED = "Idempotent-Replayed"


def accepted(request_id: str, options: Options, *, preferred: bool) -> Response:
    headers = {"Location": f"/api/produce/status/{request_id}", "Retry-After": "1"}
    if preferred:
        headers["Preference-Applied"] = "respond-async"
    return Response({"requestId": request_id, "status": "pending", **options.schema_ids()}, status=202, headers=headers)


def produced(request: HttpRequest, dialect: Dialect, outcomes: Outcomes, options: Options) -> HttpResponse:
    """Return 200 if at least one record was written, else a problem that includes each record's error."""
    facts = facts_of(request)
    facts.records, facts.written, facts.failed = len(outcomes), outcomes.written_count, len(outcomes.failures)
    if outcomes.written_count:
        return media.encoded(dialect.respond(outcomes, options))
    where = "each record's error is at its index in offsets"
    if outcomes.is_in_doubt:
        response = _in_doubt(request, where)
    else:
        status = 503 if outcomes.are_all_retriable else 422
        response = problems.respond(request, status, "no_record_written", "no record was written", where)
    response.data["offsets"] = msgspec.Raw(outcomes.json)
    return response


def written(request: HttpRequest, dialect: Dialect, row: ProduceRequest) -> HttpResponse:
    """Return the response to a sync request that a worker has written, or is still writing."""
    if not row.is_finished:
        return _in_doubt(request, "a worker is still writing the records")
    if (outcomes := row.read_outcomes()) is None:
        failures = [
            RecordFailure(f"record {index}: {row.error}", NotAttempted.code, retriable=False)
            for index in range(row.record_count)
        ]
        return produced(request, dialect, Outcomes(failures), row.read_options())
    return produced(request, dialect, Outcomes.unpacked(outcomes), row.read_options())


def replayed(request: HttpRequest, dialect: Dialect, used: IdempotencyKey, *, preferred: bool) -> HttpResponse:
    """Return the response to the request that has used this key before. Raises IdempotencyKeyInUse."""
    options = used.read_options()
    if used.is_async:
        response: HttpResponse = accepted(used.request_id, options, preferred=preferred)
    elif (outcomes := used.read_outcomes()) is None:
        raise IdempotencyKeyInUse()
    else:
        response = produced(request, dialect, outcomes, options)
    response.headers[REPLAYED] = "true"
    return response


def _in_doubt(request: HttpRequest, detail: str) -> Response:
    if "HTTP_IDEMPOTENCY_KEY" not in request.META:
        detail += "; a request with an Idempotency-Key can be sent again safely"
        return problems.respond(request, 504, OutcomeUnknown.code, "outcome unknown", detail)
    detail += "; send the request again with the same Idempotency-Key"
    headers = {"Retry-After": "1"}
    response = problems.respond(request, 504, OutcomeUnknown.code, "outcome unknown", detail, **headers)
    response.data["retriable"] = True
    return response


def status(row: ProduceRequest) -> dict[str, Any]:
    """Return the status of a request."""
    options = row.read_options()
    shown: dict[str, Any] = {
        "requestId": row.pk,
        "status": STATUS_FOR_CLIENTS.get(Status(row.status), row.status),
        **({"topics": [topic for topic, _ in options.topics]} if options.topics else {"topic": row.topic}),
        "recordCount": row.record_count,
        "createdAt": row.created_at,
        **options.schema_ids(),
    }
    if row.is_finished:
        shown["completedAt"] = row.completed_at
        outcomes = row.read_outcomes()
        if outcomes is not None:
            shown["offsets"] = msgspec.Raw(outcomes)
        if shown["status"] == Status.FAILED:
            # Requests that failed before this version have no code.
            shown |= {"error": row.error, **({"code": row.code} if row.code else {})}
    return shown
