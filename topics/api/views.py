"""HTTP views to list, create, describe, change and delete topics, and to read records."""

import base64
import builtins
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import msgspec
import structlog
from django.conf import settings
from drf_spectacular.utils import extend_schema_view
from msgspec import UNSET, UnsetType
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from core.api.serializers import ParameterSerializer
from topics.api import openapi
from topics.api.serializers import NewTopicSerializer, ReadParameters, TopicChangeSerializer, TopicSerializer
from topics.decoders import Decoder, Undecoded, new_decoder
from topics.log import current_log
from topics.log.contract import MAX_READ_BYTES
from topics.log.records import DEFAULT_CONFIG, StoredRecord, TopicConfig, TopicInfo

log = structlog.get_logger("takhin.topics")
# Maps the JSON fields of a topic's configuration to TopicConfig.
CONFIG = {"retentionMs": "retention_ms", "retentionBytes": "retention_bytes"}


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
        return Response(self.shown([self.change_topic(found, wanted.validated_data)])[0])

    def destroy(self, request: Request, topic: str) -> Response:
        current_log().partition_count(topic)
        _no_parameters(request)
        current_log().delete_topic(topic)
        log.info("topic_deleted", topic=topic, key=request.META.get("takhin.key"))
        return Response(status=204)

    @openapi.read_messages
    def messages(self, request: Request, topic: str) -> Response:
        count = current_log().partition_count(topic)
        wanted = ReadParameters(data=request.query_params)
        wanted.is_valid(raise_exception=True)
        partition, offset = wanted.validated_data.get("partition"), wanted.validated_data.get("offset")
        numbers = range(count) if partition is None else [partition]
        records = _read(topic, numbers, offset, wanted.validated_data["limit"])
        decoder = new_decoder(request.auth) if wanted.validated_data["decode"] == "true" else None
        return Response([_message(record, decoder) for record in records])

    def shown(self, topics: Sequence[TopicInfo]) -> builtins.list[dict[str, Any]]:
        """Return the topics as a response has them."""
        return [_shown(topic) for topic in topics]

    def create_topic(self, members: dict[str, Any]) -> TopicInfo:
        """Create the topic that a valid request body describes."""
        partitions = members.get("partitions", settings.TAKHIN_DEFAULT_PARTITIONS)
        return current_log().create_topic(members["name"], partitions, _config(members, DEFAULT_CONFIG))

    def change_topic(self, topic: TopicInfo, members: dict[str, Any]) -> TopicInfo:
        """Apply a valid request body to the topic."""
        if not CONFIG.keys() & members.keys():
            return topic
        return current_log().configure_topic(topic.name, _config(members, topic.config))


def _read(topic: str, partitions: Iterable[int], offset: int | None, limit: int) -> list[StoredRecord]:
    """Read the partitions in order, until there are `limit` records or more than MAX_READ_BYTES."""
    records: list[StoredRecord] = []
    room = MAX_READ_BYTES
    for partition in partitions:
        if len(records) == limit or room <= 0:
            break
        found = current_log().read(topic, partition, offset, limit - len(records))
        records += found
        room -= sum(len(record.key or b"") + len(record.value or b"") for record in found)
    return records


def _config(members: dict[str, Any], base: TopicConfig) -> TopicConfig:
    """Return `base` with the fields of a request body applied."""
    given = {name: members[member] for member, name in CONFIG.items() if member in members}
    return msgspec.structs.replace(base, **given)


def _no_parameters(request: Request) -> None:
    ParameterSerializer(data=request.query_params).is_valid(raise_exception=True)


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
            }
            for bounds in topic.partitions
        ],
        **{member: getattr(topic.config, name) for member, name in CONFIG.items()},
    }


class Message(msgspec.Struct, gc=False):
    """A record as the API returns it. The last fields are there only if a key or value is decoded."""

    partition: int
    offset: int
    timestamp: int
    key: str | None
    value: str | None
    headers: list[dict[str, Any]]
    keyEncoding: str
    valueEncoding: str
    keySchemaId: int | UnsetType = UNSET
    valueSchemaId: int | UnsetType = UNSET
    keyDecodeError: str | UnsetType = UNSET
    valueDecodeError: str | UnsetType = UNSET


def _message(record: StoredRecord, decoder: Decoder | None) -> Message:
    key, key_encoding = as_text(record.key)
    value, value_encoding = as_text(record.value)
    headers = [{"key": name, "value": _header_value(content)} for name, content in record.headers]
    shown = Message(
        record.partition, record.offset, record.timestamp, key, value, headers, key_encoding, value_encoding
    )
    if decoder is not None:
        for part, data in (("key", record.key), ("value", record.value)):
            if data is not None:
                for name, found in _decoded(part, data, decoder).items():
                    setattr(shown, name, found)
    return shown


def _decoded(part: str, data: bytes, decoder: Decoder) -> dict[str, Any]:
    """Return the fields that replace or supplement those of an undecoded key or value."""
    try:
        decoded = decoder.decode(data)
    except Undecoded as error:
        return {f"{part}DecodeError": str(error)}
    if decoded is None:
        return {}
    return {part: decoded.text, f"{part}Encoding": decoded.format, f"{part}SchemaId": decoded.schema_id}


def as_text(data: bytes | None) -> tuple[str | None, str]:
    """Return bytes as text with the encoding used: `utf-8` if possible, otherwise `base64`."""
    if data is None:
        return None, "utf-8"
    try:
        return data.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(data).decode(), "base64"


def _header_value(content: bytes | None) -> Any:
    text, encoding = as_text(content)
    return text if encoding == "utf-8" else {"base64": text}
