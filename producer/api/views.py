"""The views for produce requests and their status."""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from core import lane, wakeups
from core.api import bodies, problems
from core.database import transactions
from core.errors import OutcomeUnknown
from core.wakeups import Waiting
from producer.api import openapi
from producer.api.serializers import WaitParameters
from producer.authentication import key_of
from producer.errors import RequestNotFound
from producer.models import Outcomes, ProduceRequest, new_request_id
from producer.options import Options
from producer.pipeline import parameters
from producer.pipeline.dialects import Dialect, dialect_of
from producer.pipeline.produce import Inbound, produce
from producer.pipeline.schemas import needs_schema, with_schemas
from producer.queue.accept import accept
from topics.log import current_log
from topics.log.errors import TopicExists, TopicNotFound

# A record is an object, and may contain some. A thousand records take a few milliseconds.
MOST_OBJECTS_IN_LANE = 5000
# Under gunicorn, waiting holds a thread. At least half of the threads stay free for other requests.
_waiting = threading.BoundedSemaphore(max(1, settings.TAKHIN_THREADS // 2))


class ProduceViewSet(ViewSet):
    scopes: ClassVar[dict[str, str]] = {"create": "produce"}

    @property
    def default_response_headers(self) -> dict[str, str]:
        # Django REST framework would look for all methods again on each request.
        return {"Allow": "POST, OPTIONS"}

    @openapi.produce
    def create(self, request: Request, topic: str) -> Response:
        http = request._request
        _find_or_create_topic(topic)
        chosen = parameters.parse(http.META.get("QUERY_STRING", ""))
        dialect = dialect_of(http.META.get("CONTENT_TYPE", ""))
        body = bodies.read(http)
        if needs_schema(chosen) or body.data.count(b"{") > MOST_OBJECTS_IN_LANE:
            # Schemas may come from another server, and many records take their time.
            lane.leave()
        decoded = dialect.decode(body.data)
        api_key = key_of(request)
        new_id = http.META.get("takhin.new_id")
        inbound = Inbound(
            topic=topic,
            dialect=dialect.name,
            decoded=decoded,
            options=with_schemas(topic, chosen, decoded.schemas, api_key),
            body=body,
            api_key=api_key,
            request_id=new_request_id(new_id),
            http_request_id=None if new_id else http.META["HTTP_X_REQUEST_ID"],
        )
        preferred = _prefers_async(http)
        if chosen.is_async or preferred:
            accept(inbound)
            return _accepted(inbound, preferred)
        return _answer(http, dialect, produce(current_log(), inbound), inbound.options)


class StatusViewSet(ViewSet):
    scopes: ClassVar[dict[str, str]] = {"retrieve": "produce"}

    @openapi.status
    def retrieve(self, request: Request, request_id: str) -> Response:
        given = WaitParameters(data=request.query_params)
        given.is_valid(raise_exception=True)
        wait = given.validated_data["wait"]

        def find() -> ProduceRequest:
            return _find_own(request, request_id)

        row = find()
        if wait and not row.is_finished:
            row = _waited(request, find, row, wait)
        return Response(_status(row), headers={} if row.is_finished else {"Retry-After": "1"})


def _waited(request: Request, find: Callable[[], ProduceRequest], row: ProduceRequest, wait: float) -> ProduceRequest:
    """Return the request when it is finished, or its current state when the time is up.

    Raises Waiting if the server does the waiting, and then calls the application again.
    """
    match request.META.get("takhin.wait"):
        case "later":
            raise Waiting(row.pk, wait)
        case "over":
            return row
    if not _waiting.acquire(blocking=False):
        return row
    try:
        return _wait_until_finished(find, wait)
    finally:
        _waiting.release()


def _wait_until_finished(find: Callable[[], ProduceRequest], seconds: float) -> ProduceRequest:
    deadline = time.monotonic() + seconds
    row = find()
    while not row.is_finished and (left := deadline - time.monotonic()) > 0:
        wakeups.wait_finished(row.pk, min(left, 0.25))
        row = find()
    return row


def _find_or_create_topic(topic: str) -> None:
    try:
        current_log().partition_count(topic)
    except TopicNotFound:
        if not settings.TAKHIN_AUTO_CREATE_TOPICS:
            raise
        lane.leave()
        _create_topic_if_absent(topic)


def _create_topic_if_absent(topic: str) -> None:
    """Create the topic, unless another request has just created it. Raises InvalidTopic."""
    with contextlib.suppress(TopicExists):
        current_log().create_topic(topic, settings.TAKHIN_DEFAULT_PARTITIONS)


def _prefers_async(request: HttpRequest) -> bool:
    """RFC 7240, section 4.1."""
    preferences = request.META.get("HTTP_PREFER", "").lower().split(",")
    return "respond-async" in (preference.partition(";")[0].strip() for preference in preferences)


def _accepted(inbound: Inbound, preferred: bool) -> Response:
    headers = {"Location": f"/api/produce/status/{inbound.request_id}", "Retry-After": "1"}
    if preferred:
        headers["Preference-Applied"] = "respond-async"
    body = {"requestId": inbound.request_id, "status": "pending", **inbound.options.schema_ids()}
    return Response(body, status=202, headers=headers)


def _answer(request: HttpRequest, dialect: Dialect, outcomes: Outcomes, chosen: Options) -> Response:
    """Return 200 if at least one record was written, else a problem that includes each record's error."""
    if outcomes.written_count:
        return Response(dialect.respond(outcomes, chosen))
    where = "each record's error is at its index in offsets"
    if outcomes.is_in_doubt:
        response = problems.respond(request, 504, OutcomeUnknown.code, "outcome unknown", where)
    else:
        status = 503 if outcomes.are_all_retriable else 422
        response = problems.respond(request, status, "no_record_written", "no record was written", where)
    response.data["offsets"] = msgspec.Raw(outcomes.json)
    return response


def _find_own(request: Request, request_id: str) -> ProduceRequest:
    """Return the request, if it was made with the same key. Raises RequestNotFound."""
    with transactions.translated():
        found = ProduceRequest.objects.filter(pk=request_id, api_key=key_of(request)).defer("body")
        # PostgreSQL fails on a NUL in a query.
        row = None if "\0" in request_id else found.first()
    if row is None:
        raise RequestNotFound(f"request {request_id} does not exist, was purged, or belongs to another API key")
    return row


def _status(row: ProduceRequest) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "requestId": row.pk,
        "status": row.status,
        "topic": row.topic,
        "recordCount": row.record_count,
        "createdAt": row.created_at,
        **row.read_options().schema_ids(),
    }
    if row.is_finished:
        shown["completedAt"] = row.completed_at
        outcomes = row.read_outcomes()
        if outcomes is not None:
            shown["offsets"] = msgspec.Raw(outcomes)
        if row.error:
            shown["error"] = row.error
    return shown
