"""The OpenAPI description of produce requests, their status and API keys, with an example for every response."""

from collections.abc import Callable
from typing import Any, TypeVar

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from core.api.bodies import JSON_TYPES
from core.api.openapi import COMMON, PROBLEM_TYPE, PROBLEMS, SHARED, problem_example, problems
from core.api.serializers import ProblemSerializer
from producer.api import serializers
from producer.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from producer.pipeline.dialects import NDJSON_TYPES
from topics.api.openapi import TOPIC

F = TypeVar("F", bound=Callable[..., Any])
_JSON, _NDJSON = JSON_TYPES[0], NDJSON_TYPES[0]
_ID = "req_0199b2f0c1e27d5e8f6a3b1c9d4e7f20"
_failure = {
    "error": "record 1: serialize value: 'x' is not standard base64",
    "code": "serialization_failed",
    "retriable": False,
}
_written = {"partition": 0, "offset": 42, "timestamp": 1704545600123}
_PROBLEMS_OF_PRODUCE = {
    400: ("invalid_request_body", "invalid request body", "$.records[1].partition: expected int, got str"),
    403: ("topic_not_allowed", "this API key may not use topic orders", "this API key may not use topic orders"),
}


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "producer.authentication.ApiKeyAuthentication"
    name = ["bearer", "apiKey"]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        # Two requirements, because either suffices; a single one with both schemes would require both.
        return [{"bearer": []}, {"apiKey": []}]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return [
            {
                "type": "http",
                "scheme": "bearer",
                "description": "`Authorization: Bearer KEY`. `Api-Key KEY` works too.",
            },
            {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        ]


def _problem(status: int) -> dict[Any, OpenApiResponse]:
    code, error, detail = _PROBLEMS_OF_PRODUCE[status]
    example = problem_example(status, code, error, detail)
    return {(status, PROBLEM_TYPE): OpenApiResponse(ProblemSerializer, error, [example])}


def _key_problems() -> dict[Any, OpenApiResponse]:
    error = IdempotencyKeyInUse()
    example = problem_example(409, error.code, error.title, str(error))
    example.value["retriable"] = True
    return {(409, PROBLEM_TYPE): OpenApiResponse(ProblemSerializer, error.title, [example])}


def _none_written(status: int, failure: dict[str, Any]) -> dict[Any, OpenApiResponse]:
    example = problem_example(
        status,
        "no_record_written",
        "no record was written",
        "each record's error is at its index in offsets",
        offsets=[failure],
    )
    examples = [example]
    if status == 422:
        reused = IdempotencyKeyReused()
        examples.append(problem_example(status, reused.code, reused.title, str(reused)))
    if status == 503:
        examples.append(problem_example(status, *PROBLEMS[status]))
    return {
        (status, PROBLEM_TYPE): OpenApiResponse(serializers.ProduceProblemSerializer, example.value["title"], examples)
    }


def _in_doubt() -> dict[Any, OpenApiResponse]:
    code, error, detail = PROBLEMS[504]
    failure = {"error": f"record 0: {detail}", "code": code, "retriable": False}
    example = problem_example(504, code, error, "each record's error is at its index in offsets", offsets=[failure])
    return {(504, PROBLEM_TYPE): OpenApiResponse(serializers.ProduceProblemSerializer, error, [example])}


def _retry_after(*statuses: str) -> OpenApiParameter:
    return OpenApiParameter(
        "Retry-After", OpenApiTypes.INT, OpenApiParameter.HEADER, response=list(statuses), description="In seconds."
    )


_key = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description=(
        "1 to 255 visible ASCII characters, such as a UUID. A retry with the same key returns the first response and "
        f"writes nothing. Keys are kept for `TAKHIN_IDEMPOTENCY_TTL` ({settings.TAKHIN_IDEMPOTENCY_TTL // 3600} hours)."
    ),
)
_replayed = OpenApiParameter(
    "Idempotent-Replayed",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    response=["200", "202"],
    description="`true` if this is the response to an earlier request with the same key.",
)
_prefer = OpenApiParameter(
    "Prefer",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="`respond-async` is the same as `async=true` (RFC 7240).",
)
_encoding = OpenApiParameter(
    "Content-Encoding",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    enum=["gzip", "deflate", "zstd", "lz4", "snappy"],
    description="How the body is compressed.",
)
_location = OpenApiParameter(
    "Location", OpenApiTypes.STR, OpenApiParameter.HEADER, response=["202"], description="URL of the request's status."
)
_headers = [_key, _prefer, _encoding, _replayed, _location, _retry_after("202", "409", "503")]


def _producing(
    operation: str,
    summary: str,
    body: Any,
    topic: list[OpenApiParameter],
    written: dict[str, Any],
    failure: dict[str, Any],
    records: dict[str, Any],
    lines: str,
) -> Callable[[F], F]:
    """Describe an endpoint that writes records."""
    documented: Callable[[F], F] = extend_schema(
        operation_id=operation,
        summary=summary,
        description=(
            "The response has one entry per record, in order: where the record was written, or its error. The status "
            "is 200 if at least one record was written. An `application/x-ndjson` body has one record object per line."
        ),
        tags=["produce"],
        parameters=[*topic, serializers.ProduceParameters, *_headers, *SHARED],
        request={_JSON: body, _NDJSON: OpenApiTypes.STR},
        examples=[
            OpenApiExample("records", value=records, request_only=True, media_type=_JSON),
            OpenApiExample("lines", value=lines, request_only=True, media_type=_NDJSON),
        ],
        responses=_produced(written, failure),
    )
    return documented


def _produced(written: dict[str, Any], failure: dict[str, Any]) -> dict[Any, OpenApiResponse]:
    return {
        200: OpenApiResponse(
            serializers.ProducedSerializer,
            description="At least one record was written.",
            examples=[
                OpenApiExample("written", value={"offsets": [written]}, response_only=True),
                OpenApiExample("partly", value={"offsets": [written, failure]}, response_only=True),
            ],
        ),
        202: OpenApiResponse(
            serializers.AcceptedSerializer,
            description="The request is stored durably, and a worker will write its records.",
            examples=[OpenApiExample("accepted", value={"requestId": _ID, "status": "pending"}, response_only=True)],
        ),
        **problems(401, 404, 405, 413, 415, 429, 500),
        **_problem(400),
        **_problem(403),
        **_key_problems(),
        **_none_written(422, failure),
        **_none_written(503, {**failure, "code": "log_unavailable", "retriable": True}),
        **_in_doubt(),
    }


_header = {"key": "src", "value": "web"}
produce = _producing(
    "produce",
    "Write records to a topic",
    serializers.ProduceRequestSerializer,
    [TOPIC],
    _written,
    _failure,
    {"records": [{"key": "user-1", "value": {"amount": 1.1}, "headers": [_header]}]},
    '{"key":"user-1","value":1}\n{"value":2}\n',
)
produce_to_topics = _producing(
    "produceToTopics",
    "Write records to several topics",
    serializers.TopicsRequestSerializer,
    [],
    {"topic": "orders", **_written},
    {"topic": "payments", **_failure},
    {
        "records": [
            {"topic": "orders", "key": "order-7", "value": {"amount": 1.1}},
            {"topic": "payments", "key": "order-7", "value": "AQID"},
        ],
        "topics": {"payments": {"valueFormat": "binary"}},
    },
    '{"topic":"orders","value":1}\n{"topic":"payments","value":2}\n',
)
_pending = {
    "requestId": _ID,
    "status": "pending",
    "topic": "orders",
    "recordCount": 1,
    "createdAt": "2026-11-24T10:00:00.000000Z",
}
_completed = {**_pending, "status": "completed", "completedAt": "2026-11-24T10:00:00.012000Z", "offsets": [_written]}
_failed = {**_completed, "status": "failed", "offsets": [_failure], "error": _failure["error"]}
status = extend_schema(
    operation_id="status",
    summary="Get the status of an async request",
    tags=["produce"],
    parameters=[
        OpenApiParameter(
            "request_id", OpenApiTypes.STR, OpenApiParameter.PATH, description="`requestId` from the 202 response."
        ),
        serializers.WaitParameters,
        _retry_after("200", "503"),
        *SHARED,
    ],
    responses={
        200: OpenApiResponse(
            serializers.StatusSerializer,
            examples=[
                OpenApiExample("pending", value=_pending, response_only=True),
                OpenApiExample("completed", value=_completed, response_only=True),
                OpenApiExample("failed", value=_failed, response_only=True),
            ],
        ),
        **problems(*COMMON, 404),
    },
)
