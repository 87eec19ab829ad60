"""HTTP views to list, create, describe, change and delete topics, and to read records."""

import builtins
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from django.conf import settings
from drf_spectacular.utils import extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from core import audit, reads
from core.api.serializers import ParameterSerializer
from core.database.checks import describe
from topics.api import openapi, reading
from topics.api.configs import CONFIG, configured
from topics.api.messages import message
from topics.api.serializers import NewTopicSerializer, ReadParameters, TopicChangeSerializer, TopicSerializer
from topics.decoders import new_decoder
from topics.log import current_log
from topics.log.errors import InvalidTopic
from topics.log.records import DEFAULT_CONFIG, TopicInfo
from topics.log.validation import fewer_partitions


# A subclass may add members of its own to a topic.
@extend_schema_view(
    **openapi.topic_operations(TopicSerializer, NewTopicSerializer, TopicChangeSerializer, openapi.TOPIC_EXAMPLE)
)
class TopicViewSet(ViewSet):
    new_serializer: type[NewTopicSerializer] = NewTopicSerializer
    change_serializer: type[TopicChangeSerializer] = TopicChangeSerializer
    scopes: ClassVar[dict[str, str]] = {
        "list": "read",
        "retrieve": "read",
        "messages": "read",
        "create": "manage",
        "partial_update": "manage",
        "destroy": "manage",
    }

    def list(self, request: Request) -> Response:
        _no_parameters(request)
        return Response(self.shown([topic for topic in current_log().topics() if _may_use(request, topic.name)]))

    def create(self, request: Request) -> Response:
        _no_parameters(request)
        wanted = self.new_serializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        name = wanted.validated_data["name"]
        self.check_object_permissions(request, name)
        shown = self.shown([self.create_topic(wanted.validated_data)])[0]
        audit.note("topic_created", "topic", name, partitions=shown["partitionCount"])
        return Response(shown, status=201, headers={"Location": f"/api/topics/{name}"})

    def retrieve(self, request: Request, topic: str) -> Response:
        found = current_log().topic(topic)
        _no_parameters(request)
        return Response(self.shown([found])[0])

    def partial_update(self, request: Request, topic: str) -> Response:
        found = current_log().topic(topic)
        _no_parameters(request)
        wanted = self.change_serializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        changed = self.change_topic(found, wanted.validated_data)
        audit.note("topic_changed", "topic", topic, changed=wanted.validated_data)
        return Response(self.shown([changed])[0])

    def destroy(self, request: Request, topic: str) -> Response:
        current_log().partition_count(topic)
        _no_parameters(request)
        current_log().delete_topic(topic)
        audit.note("topic_deleted", "topic", topic)
        return Response(status=204)

    @openapi.read_messages
    def messages(self, request: Request, topic: str) -> Response:
        count = current_log().partition_count(topic)
        wanted = ReadParameters.of(request.query_params)
        partition = wanted.get("partition")
        numbers = range(count) if partition is None else [partition]
        headers: dict[str, str] = {}
        if (key := wanted.get("key")) is not None:
            records, following = reading.find_by_key(topic, numbers[0], key, wanted)
            headers["X-Takhin-Next"] = str(following)
        else:
            records = reading.read(topic, numbers, wanted)
        reads.current.note(topic, [(record.partition, record.offset) for record in records])
        decoder = new_decoder(request.auth) if wanted["decode"] == "true" else None
        return Response([message(record, decoder) for record in records], headers=headers)

    def shown(self, topics: Sequence[TopicInfo]) -> builtins.list[dict[str, Any]]:
        """Return the topics as a response has them."""
        return [_shown(topic) for topic in topics]

    def create_topic(self, members: dict[str, Any]) -> TopicInfo:
        """Create the topic that a valid request body describes."""
        partitions = members.get("partitions", settings.TAKHIN_DEFAULT_PARTITIONS)
        config = configured(members, DEFAULT_CONFIG)
        return current_log().create_topic(members["name"], partitions, config, members.get("replicationFactor"))

    def change_topic(self, topic: TopicInfo, members: dict[str, Any]) -> TopicInfo:
        """Apply a valid request body to the topic. The partitions come last, because they cannot be taken back."""
        if members.get("replicationFactor", topic.replication_factor) != topic.replication_factor:
            raise InvalidTopic(
                f"replicationFactor: topic {topic.name!r} has {topic.replication_factor}, which cannot be changed here"
            )
        count = members.get("partitions", len(topic.partitions))
        if count < len(topic.partitions):
            raise fewer_partitions(topic.name, len(topic.partitions), count)
        if {*CONFIG, "configs"} & members.keys():
            topic = current_log().configure_topic(topic.name, configured(members, topic.config))
        if count > len(topic.partitions):
            topic = current_log().add_partitions(topic.name, count)
        return topic


class ClusterViewSet(ViewSet):
    scopes: ClassVar[dict[str, str]] = {"retrieve": "read"}

    @openapi.cluster
    def retrieve(self, request: Request) -> Response:
        _no_parameters(request)
        found = current_log().cluster_info()
        return Response(
            {
                "log": settings.TAKHIN_LOG,
                "clusterId": found.id,
                "controller": found.controller,
                "brokers": [msgspec.structs.asdict(broker) for broker in found.brokers],
                "versions": {"takhin": settings.VERSION, "database": describe(), **found.versions},
            }
        )


def _no_parameters(request: Request) -> None:
    ParameterSerializer.of(request.query_params)


def _may_use(request: Request, topic: str) -> bool:
    # Every authentication object of the site knows which topics it allows.
    key: Any = request.auth
    return key is None or bool(key.allows_topic(topic))


def _shown(topic: TopicInfo) -> dict[str, Any]:
    return {
        "name": topic.name,
        "partitionCount": len(topic.partitions),
        "partitions": [
            {
                "id": bounds.id,
                "highWaterMark": bounds.high_watermark if bounds.is_online else None,
                "firstOffset": bounds.first_offset if bounds.is_online else None,
                "leader": bounds.leader,
                "replicas": bounds.replicas,
                "inSyncReplicas": bounds.in_sync_replicas,
            }
            for bounds in topic.partitions
        ],
        "replicationFactor": topic.replication_factor,
        **{member: getattr(topic.config, name) for member, name in CONFIG.items()},
        "configs": topic.config.others,
    }
