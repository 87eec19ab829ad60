"""The parts of the OpenAPI description that every endpoint shares: problem responses, and X-Request-Id."""

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from core.api.serializers import ProblemSerializer

PROBLEM_TYPE = "application/problem+json"
# Status -> (code, error, detail) of the problem shown as its example.
PROBLEMS = {
    400: (
        "invalid_parameter",
        "invalid query parameter",
        "limt: unknown parameter; expected partition, offset, timestamp, limit, decode",
    ),
    401: ("invalid_api_key", "invalid API key", "invalid API key"),
    403: ("missing_scope", "this API key lacks the scope manage", "this API key lacks the scope manage"),
    404: ("topic_not_found", "topic not found", "there is no topic named 'orders'"),
    405: ("method_not_allowed", "method not allowed", 'Method "PUT" not allowed.'),
    409: ("topic_exists", "topic exists", "topic 'orders' already exists"),
    410: ("offset_out_of_range", "offset out of range", "offset 3 is no longer kept: the first kept offset is 10"),
    413: ("body_too_large", "request body too large", "the body as sent must be at most 10485760 bytes"),
    415: ("unsupported_content_type", "unsupported content type: text/html", "Content-Type 'text/html' is not one of"),
    429: ("quota_exceeded", "quota exceeded", "this API key may send 100 requests per second"),
    500: ("internal_error", "internal error", "see the server log for this X-Request-Id"),
    502: ("log_refused", "log refused", "the Kafka cluster refused this server (TOPIC_AUTHORIZATION_FAILED)"),
    503: ("log_unavailable", "log unavailable", "the database cannot be reached or is busy"),
    504: (
        "outcome_unknown",
        "outcome unknown",
        "Kafka did not acknowledge the record in time: it may have been written",
    ),
}


class StrictBody(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Document that strict bodies reject unknown fields."""

    target_class = "core.api.serializers.StrictSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> Any:
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {**schema, "additionalProperties": False}


def problem_example(status: int, code: str, error: str, detail: str, **members: Any) -> OpenApiExample:
    value = {
        "type": f"urn:takhin:problem:{code}",
        "title": error[:1].upper() + error[1:],
        "status": status,
        "detail": detail,
        "error": error,
        "code": code,
        "retriable": status in (429, 503),
        "instance": "0199b2f0c1e27d5e8f6a3b1c9d4e7f20",
        **members,
    }
    return OpenApiExample(code, value=value, media_type=PROBLEM_TYPE, status_codes=[str(status)], response_only=True)


def problems(*statuses: int) -> dict[Any, OpenApiResponse]:
    """Return an endpoint's problem responses, each with an example."""
    return {
        (status, PROBLEM_TYPE): OpenApiResponse(
            ProblemSerializer, description=PROBLEMS[status][1], examples=[problem_example(status, *PROBLEMS[status])]
        )
        for status in statuses
    }


COMMON = (400, 401, 403, 405, 429, 500, 502, 503)
REQUEST_ID = OpenApiParameter(
    "X-Request-Id",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="1 to 128 of A-Z, a-z, 0-9, '.', '_', '~', '-': "
    "echoed and logged. The server generates an id if this is missing or invalid.",
)
ANSWERED_ID = OpenApiParameter(
    "X-Request-Id", OpenApiTypes.STR, OpenApiParameter.HEADER, response=True, description="The request's id."
)
SHARED = [REQUEST_ID, ANSWERED_ID]
