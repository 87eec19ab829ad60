"""OpenAPI descriptions of the topic endpoints, with an example for every status."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.serializers import Serializer

from core.api.openapi import COMMON, PROBLEM_TYPE, SHARED, problem_example, problems
from topics.api.serializers import ClusterSerializer, MessageSerializer, ReadParameters, ReadProblemSerializer

TOPIC = OpenApiParameter("topic", OpenApiTypes.STR, OpenApiParameter.PATH, description="The topic's name.")
TOPIC_EXAMPLE: dict[str, Any] = {
    "name": "orders",
    "partitionCount": 2,
    "partitions": [
        {"id": 0, "highWaterMark": 42, "firstOffset": 0, "leader": 0, "replicas": [0], "inSyncReplicas": [0]},
        {"id": 1, "highWaterMark": 17, "firstOffset": 0, "leader": 0, "replicas": [0], "inSyncReplicas": [0]},
    ],
    "replicationFactor": 1,
    "retentionMs": None,
    "retentionBytes": None,
    "configs": {},
}
CLUSTER_EXAMPLE: dict[str, Any] = {
    "log": "kafka",
    "clusterId": "Ouo2HsFnQ2uXlfOJRhpnBw",
    "controller": 2,
    "brokers": [{"id": 1, "host": "kafka-1", "port": 9092}, {"id": 2, "host": "kafka-2", "port": 9092}],
    "versions": {"takhin": "1.0.0", "database": "PostgreSQL 15.8", "librdkafka": "2.16.0", "confluent-kafka": "2.16.0"},
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
cluster = extend_schema(
    operation_id="describeCluster",
    summary="Describe the cluster that keeps the log",
    tags=["topics"],
    parameters=SHARED,
    responses={
        200: OpenApiResponse(
            ClusterSerializer, examples=[OpenApiExample("cluster", value=CLUSTER_EXAMPLE, response_only=True)]
        ),
        **problems(*COMMON),
    },
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


def topic_operations(
    topic: type[Serializer[Any]], new: type[Serializer[Any]], change: type[Serializer[Any]], example: dict[str, Any]
) -> dict[str, Any]:
    """Describe the actions on topics, for `extend_schema_view`."""
    shown = OpenApiResponse(topic, examples=[OpenApiExample("topic", value=example, response_only=True)])
    listed = OpenApiResponse(topic(many=True), examples=[OpenApiExample("topics", value=example, response_only=True)])
    return {**_readings(listed, shown), **_changes(new, change, shown)}


def _readings(listed: OpenApiResponse, shown: OpenApiResponse) -> dict[str, Any]:
    return {
        "list": extend_schema(
            operation_id="listTopics",
            summary="List topics",
            tags=["topics"],
            parameters=SHARED,
            responses={200: listed, **problems(*COMMON)},
        ),
        "retrieve": extend_schema(
            operation_id="describeTopic",
            summary="Describe a topic",
            tags=["topics"],
            parameters=[TOPIC, *SHARED],
            responses={200: shown, **problems(*COMMON, 404)},
        ),
    }


def _changes(new: type[Serializer[Any]], change: type[Serializer[Any]], shown: OpenApiResponse) -> dict[str, Any]:
    return {
        "create": extend_schema(
            operation_id="createTopic",
            summary="Create a topic",
            tags=["topics"],
            parameters=SHARED,
            request=new,
            examples=[OpenApiExample("topic", value={"name": "orders", "partitions": 3}, request_only=True)],
            responses={201: shown, **problems(*COMMON, 409, 413, 415)},
        ),
        "partial_update": extend_schema(
            operation_id="changeTopic",
            summary="Change a topic's configuration",
            tags=["topics"],
            parameters=[TOPIC, *SHARED],
            request=change,
            examples=[OpenApiExample("a day", value={"retentionMs": 86400000}, request_only=True)],
            responses={200: shown, **problems(*COMMON, 404, 413, 415)},
        ),
        "destroy": extend_schema(
            operation_id="deleteTopic",
            summary="Delete a topic and its records",
            tags=["topics"],
            parameters=[TOPIC, *SHARED],
            responses={204: None, **problems(*COMMON, 404)},
        ),
    }
