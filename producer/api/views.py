"""The view for produce requests."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.viewsets import ViewSet

from core import content_encodings, lane, spans, turns
from core.api import bodies
from core.api.bodies import Body
from core.api.errors import InvalidParameter
from core.database import transactions
from core.errors import StorageUnavailable
from core.facts import Facts, facts_of
from producer.api import admission, idempotency, openapi, quotas, responses
from producer.api.named_topics import find_all, find_or_create
from producer.api.status import find_request
from producer.api.waiting import wait_until_finished
from producer.authentication import key_of
from producer.errors import Overloaded
from producer.measures import BODY_BYTES, count_records
from producer.models import ApiKey, NewKey, Outcomes, new_request_id
from producer.options import Options
from producer.pipeline import parameters
from producer.pipeline.dialects import DIALECTS, Dialect, dialect_of
from producer.pipeline.produce import Inbound, KeyTaken, produce
from producer.pipeline.schemas import needs_schema, with_schemas
from producer.queue.accept import accept, accept_to_wait
from producer.queue.session_writer import writes_in_sessions
from topics.log import current_log
from topics.log.contract import Log


class _Given(msgspec.Struct, frozen=True):
    """What a client has sent, before its records are decoded. Without a topic, each record names its own."""

    http: HttpRequest
    topic: str | None
    # Raises PermissionDenied.
    check_topic: Callable[[str], None]
    chosen: Options
    dialect: Dialect
    body: Body
    api_key: ApiKey | None
    prefers_async: bool

    @property
    def is_async(self) -> bool:
        return self.chosen.is_async or self.prefers_async


class ProduceViewSet(ViewSet):
    scopes: ClassVar[dict[str, str]] = {"create": "produce", "create_to_topics": "produce"}

    @property
    def default_response_headers(self) -> dict[str, str]:
        # Django REST framework would look for all methods again on each request.
        return {"Allow": "POST, OPTIONS"}

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        # The server breaks reference cycles by it. Django REST framework sets it on its own responses only.
        response.renderer_context = self.get_renderer_context()
        return response

    @openapi.produce
    def create(self, request: Request, topic: str) -> HttpResponse:
        return self._respond(request, topic)

    @openapi.produce_to_topics
    def create_to_topics(self, request: Request) -> HttpResponse:
        return self._respond(request, None)

    def _respond(self, request: Request, topic: str | None) -> HttpResponse:
        http = request._request
        if (awaited := http.META.get("takhin.waited_for")) is not None:
            return _after_waiting(http, awaited)
        facts = facts_of(http)
        if topic is not None:
            find_or_create(topic)
            facts.topic = topic
        chosen, api_key = parameters.parse(http.META.get("QUERY_STRING", "")), key_of(request)
        preferred = _prefers_async(http)
        quotas.check(api_key)
        is_async = chosen.is_async or preferred
        facts.mode = "async" if is_async else "sync"
        if settings.TAKHIN_TRACE_HEADERS or spans.is_on():
            chosen = msgspec.structs.replace(chosen, trace=spans.current_trace(spans.trace_of(http.META)))
        admission.check(http, api_key, is_queued=is_async)
        if not is_async:
            _check_time(http, chosen)
        dialect = dialect_of(http.META.get("CONTENT_TYPE", ""), has_topics=topic is None)
        check_topic = partial(self.check_object_permissions, request)
        body = bodies.read(http)
        _count_body(http, body, facts)
        given = _Given(http, topic, check_topic, chosen, dialect, body, api_key, preferred)
        key = idempotency.key_of(http, dialect.name, given.body.data, given.api_key, is_async=given.is_async)
        if key is None:
            return _produced(given, None)
        with idempotency.in_use(key):
            try:
                return _replayed(given, key) or _produced(given, key)
            except KeyTaken:
                # A twin in another process was faster.
                return _replayed(given, key) or _produced(given, key)


def _produced(given: _Given, key: NewKey | None) -> HttpResponse:
    """Raises KeyTaken."""
    topic_log = current_log()
    if given.chosen.atomic and not (topic_log.supports_transactions or writes_in_sessions(topic_log)):
        raise InvalidParameter("atomic=true requires a log with transactions; on Kafka, TAKHIN_KAFKA_EXACTLY_ONCE=true")
    is_delivered = not given.is_async and (key is not None or given.chosen.atomic) and writes_in_sessions(topic_log)
    if is_delivered:
        admission.check(given.http, given.api_key, is_queued=True)
        lane.leave()
    inbound = _inbound(given, key)
    facts = facts_of(given.http)
    facts.topic, facts.request_id, facts.records = inbound.topic, inbound.request_id, len(inbound.decoded.records)
    # Nothing may leave the lane from here on, or the request would be counted again.
    headers = quotas.take(given.api_key, len(inbound.decoded.records), len(given.body.data))
    response = _delivered(given, topic_log, inbound) if is_delivered else _written(given, topic_log, inbound)
    for name, value in headers.items():
        response[name] = value
    return response


def _written(given: _Given, topic_log: Log, inbound: Inbound) -> HttpResponse:
    """Write the records now, or accept them for a worker. Raises KeyTaken."""
    if given.is_async:
        accept(inbound)
        admission.accepted(given.api_key, len(given.body.data))
        return responses.accepted(inbound.request_id, inbound.options, preferred=given.prefers_async)
    outcomes = produce(topic_log, inbound)
    count_records(inbound.topic, outcomes)
    return responses.produced(given.http, given.dialect, outcomes, inbound.options)


def _delivered(given: _Given, topic_log: Log, inbound: Inbound) -> HttpResponse:
    """Have a worker write the records exactly once, and wait for that. Raises KeyTaken."""
    accepted = accept_to_wait(topic_log, inbound)
    if isinstance(accepted, Outcomes):
        return responses.produced(given.http, given.dialect, accepted, inbound.options)
    admission.accepted(given.api_key, len(given.body.data))
    wait_until_finished(given.http, partial(find_request, inbound.request_id), accepted)
    return _after_waiting(given.http, inbound.request_id)


def _count_body(http: HttpRequest, body: Body, facts: Facts) -> None:
    encoding = http.META.get("HTTP_CONTENT_ENCODING", "") or "identity"
    if encoding not in content_encodings.DECODERS:
        # Several, or in capitals.
        encoding = "other"
    facts.sent_bytes = body.sent_bytes
    BODY_BYTES.add("sent", encoding, amount=body.sent_bytes)
    BODY_BYTES.add("decoded", encoding, amount=len(body.data))


def _inbound(given: _Given, key: NewKey | None) -> Inbound:
    if needs_schema(given.chosen):
        # It may come from another server.
        lane.leave()
    decoded = given.dialect.decode(given.body.data)
    turns.give_way()
    if given.topic is None:
        topic, options = find_all(decoded, given.check_topic, given.chosen, given.api_key)
    else:
        topic, options = given.topic, with_schemas(given.topic, given.chosen, decoded.schemas, given.api_key)
    new_id = given.http.META.get("takhin.new_id")
    return Inbound(
        topic=topic,
        dialect=given.dialect.name,
        decoded=decoded,
        options=options,
        body=given.body,
        api_key=given.api_key,
        request_id=new_request_id(new_id),
        http_request_id=None if new_id else given.http.META["HTTP_X_REQUEST_ID"],
        idempotency_key=key,
    )


def _replayed(given: _Given, key: NewKey) -> HttpResponse | None:
    """Return the response to the request that has used the key before, or None if none has."""
    used = idempotency.find(key)
    if used is None:
        return None
    return responses.replayed(given.http, given.dialect, used, preferred=given.prefers_async)


def _check_time(http: HttpRequest, chosen: Options) -> None:
    """Raise Overloaded if a sync request has waited for its turn for as long as it may take: its client has given up.

    The server sets when it received the request.
    """
    seconds = settings.TAKHIN_PRODUCE_TIMEOUT if chosen.timeout_ms is None else chosen.timeout_ms / 1000
    received_at = http.META.get("takhin.received_at")
    if received_at is not None and time.monotonic() - received_at > seconds:
        raise Overloaded(f"the request waited {seconds:g} seconds for its turn; nothing was written")


def _after_waiting(http: HttpRequest, request_id: str) -> HttpResponse:
    """Respond to a sync request that a worker was to write. Raises StorageUnavailable if it was not."""
    row = find_request(request_id)
    if not row.is_finished:
        if transactions.commit(partial(row.cancel, rolls_back=False)):
            raise StorageUnavailable("no worker wrote the records in time; nothing was written")
        row = find_request(request_id)
    return responses.written(http, DIALECTS[row.dialect], row)


def _prefers_async(request: HttpRequest) -> bool:
    """RFC 7240, section 4.1."""
    preferences = request.META.get("HTTP_PREFER", "").lower().split(",")
    return "respond-async" in (preference.partition(";")[0].strip() for preference in preferences)
