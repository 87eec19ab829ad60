"""The topics API with `registersSchemas`, which the registry stores."""

import builtins
from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from core.api.serializers import BooleanField
from registry import topic_settings
from topics.api import openapi, views
from topics.api import serializers as topics
from topics.log.records import TopicInfo


class TopicSerializer(topics.TopicSerializer):
    registersSchemas = serializers.BooleanField(
        help_text="Whether produce requests may register new schemas for the topic."
    )


class TopicChangeSerializer(topics.TopicChangeSerializer):
    registersSchemas = BooleanField(required=False)


class NewTopicSerializer(TopicChangeSerializer, topics.NewTopicSerializer):
    pass


_example = {**openapi.TOPIC_EXAMPLE, "registersSchemas": True}


@extend_schema_view(**openapi.topic_operations(TopicSerializer, NewTopicSerializer, TopicChangeSerializer, _example))
class TopicViewSet(views.TopicViewSet):
    new_serializer = NewTopicSerializer
    change_serializer = TopicChangeSerializer

    def shown(self, topics: Sequence[TopicInfo]) -> builtins.list[dict[str, Any]]:
        closed = topic_settings.closed_topics([topics[0].name] if len(topics) == 1 else None)
        return [{**shown, "registersSchemas": shown["name"] not in closed} for shown in super().shown(topics)]

    def create_topic(self, members: dict[str, Any]) -> TopicInfo:
        with topic_settings.creating(members["name"], members.get("registersSchemas", True)):
            return super().create_topic(members)

    def change_topic(self, topic: TopicInfo, members: dict[str, Any]) -> TopicInfo:
        changed = super().change_topic(topic, members)
        if "registersSchemas" in members:
            topic_settings.set_registers_schemas(topic.name, members["registersSchemas"])
        return changed

    def destroy(self, request: Request, topic: str) -> Response:
        response = super().destroy(request, topic)
        topic_settings.forget(topic)
        return response
