"""OpenAPI descriptions of the topic endpoints, with an example for every status."""

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from topics.serializers import (
    MessageSerializer,
    NewTopicSerializer,
    ProblemSerializer,
    ReadParameters,
    ReadProblemSerializer,
    TopicChangeSerializer,
    TopicSerializer,
)

PROBLEM_TYPE = "application/problem+json"
# Status -> (code, error, detail) of the problem shown as its example.
PROBLEMS = {
    400: (
        "invalid_parameter",
        "invalid query parameter",
        "limt: unknown parameter; expected partition, offset, limit, decode",
    ),
    401: ("invalid_api_key", "invalid API key", "invalid API key"),
    403: ("missing_scope", "this API key lacks the scope manage", "this API key lacks the scope manage"),
    404: ("topic_not_found", "topic not found", "there is no topic named 'orders'"),
    405: ("method_not_allowed", "method not allowed", 'Method "PUT" not allowed.'),
    409: ("topic_exists", "topic exists", "topic 'orders' already exists"),
    410: ("offset_out_of_range", "offset out of range", "offset 3 is no longer kept: the first kept offset is 10"),
    413: ("body_too_large", "request body too large", "the body as sent must be at most 10485760 bytes"),
    415: ("unsupported_content_type", "unsupported content type: text/html", "Content-Type 'text/html' is not one of"),
    429: ("throttled", "Request was throttled.", "Request was throttled."),
    500: ("internal_error", "internal error", "see the server log for this X-Request-Id"),
    502: ("log_refused", "log refused", "the Kafka cluster refused this gateway (TOPIC_AUTHORIZATION_FAILED)"),
    503: ("log_unavailable", "log unavailable", "the database cannot be reached or is busy"),
    504: (
        "outcome_unknown",
        "outcome unknown",
        "Kafka did not acknowledge the record in time: it may have been written",
    ),
}


class StrictBody(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Document that strict bodies reject unknown fields."""

    target_class = "topics.serializers.StrictSerializer"
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
TOPIC = OpenApiParameter("topic", OpenApiTypes.STR, OpenApiParameter.PATH, description="The topic's name.")
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
_topic = {
    "name": "orders",
    "partitionCount": 2,
    "partitions": [
        {"id": 0, "highWaterMark": 42, "firstOffset": 0},
        {"id": 1, "highWaterMark": 17, "firstOffset": 0},
    ],
    "retentionMs": None,
    "retentionBytes": None,
    "registersSchemas": True,
}
_message = {
    "partition": 0,
    "offset": 41,
    "timestamp": 1704545600123,
    "key": '"user-1"',
    "value": '{"amount":1.10}',
    "headers": [{"key": "source", "value": "web"}],
    "keyEncoding": "utf-8",
    "valueEncoding": "utf-8",
}
_topic_answer = OpenApiResponse(TopicSerializer, examples=[OpenApiExample("topic", value=_topic, response_only=True)])

list_topics = extend_schema(
    operation_id="listTopics",
    summary="List topics",
    tags=["topics"],
    parameters=SHARED,
    responses={
        200: OpenApiResponse(
            TopicSerializer(many=True), examples=[OpenApiExample("topics", value=_topic, response_only=True)]
        ),
        **problems(*COMMON),
    },
)
create_topic = extend_schema(
    operation_id="createTopic",
    summary="Create a topic",
    tags=["topics"],
    parameters=SHARED,
    request=NewTopicSerializer,
    examples=[OpenApiExample("topic", value={"name": "orders", "partitions": 3}, request_only=True)],
    responses={201: _topic_answer, **problems(*COMMON, 409, 413, 415)},
)
describe_topic = extend_schema(
    operation_id="describeTopic",
    summary="Describe a topic",
    tags=["topics"],
    parameters=[TOPIC, *SHARED],
    responses={200: _topic_answer, **problems(*COMMON, 404)},
)
change_topic = extend_schema(
    operation_id="changeTopic",
    summary="Change a topic's configuration",
    tags=["topics"],
    parameters=[TOPIC, *SHARED],
    request=TopicChangeSerializer,
    examples=[OpenApiExample("a day", value={"retentionMs": 86400000}, request_only=True)],
    responses={200: _topic_answer, **problems(*COMMON, 404, 413, 415)},
)
delete_topic = extend_schema(
    operation_id="deleteTopic",
    summary="Delete a topic and its records",
    tags=["topics"],
    parameters=[TOPIC, *SHARED],
    responses={204: None, **problems(*COMMON, 404)},
)
_corrupt = problem_example(
    502,
    "corrupt_record",
    "corrupt record",
    "offsets 4 to 6 of partition 0 of topic orders cannot be read: the batch is corrupt: its CRC does not match; "
    "continue reading at offset 7",
    topic="orders",
    partition=0,
    firstOffset=4,
    lastOffset=6,
)
read_messages = extend_schema(
    operation_id="readMessages",
    summary="Read records",
    description="The response may have fewer than `limit` records if they are large; continue at the last offset + 1.",
    tags=["topics"],
    parameters=[TOPIC, ReadParameters, *SHARED],
    responses={
        200: OpenApiResponse(
            MessageSerializer(many=True), examples=[OpenApiExample("messages", value=_message, response_only=True)]
        ),
        **problems(*COMMON, 404, 410),
        (502, PROBLEM_TYPE): OpenApiResponse(ReadProblemSerializer, description="corrupt record", examples=[_corrupt]),
    },
)
