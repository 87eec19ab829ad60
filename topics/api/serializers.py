"""Serializers that validate requests and describe responses. OpenAPI is generated from them."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.api.serializers import (
    BooleanParameter,
    IntegerField,
    IntegerParameter,
    ParameterSerializer,
    ProblemSerializer,
    StrictSerializer,
    unexpected,
)
from topics.decoders import decoded_format
from topics.log.contract import MAX_PARTITIONS

MAX_OFFSET = 2**63 - 1


class TopicNameField(serializers.RegexField):
    """A JSON string. Numbers are rejected, and whitespace is not trimmed."""

    def __init__(self, **options: Any) -> None:
        options["error_messages"] = {"invalid": "use 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'"}
        super().__init__(r"^[a-zA-Z0-9._-]{1,249}$", trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        if type(data) is not str:
            raise unexpected("string", data)
        return super().to_internal_value(data)


class PartitionSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField(min_value=0)
    highWaterMark = serializers.IntegerField(
        min_value=0,
        allow_null=True,
        help_text="The next offset to be written; null while the partition has no leader.",
    )
    firstOffset = serializers.IntegerField(
        min_value=0, allow_null=True, help_text="The first offset still kept; null while the partition has no leader."
    )


class TopicSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    partitionCount = serializers.IntegerField(min_value=1)
    partitions = PartitionSerializer(many=True)
    retentionMs = serializers.IntegerField(
        allow_null=True, help_text="Records older than this are deleted; null keeps them forever."
    )
    retentionBytes = serializers.IntegerField(
        allow_null=True, help_text="Bytes kept in each partition; null keeps all records."
    )


class TopicChangeSerializer(StrictSerializer):
    retentionMs = IntegerField(min_value=1, max_value=MAX_OFFSET, required=False, allow_null=True)
    retentionBytes = IntegerField(min_value=1, max_value=MAX_OFFSET, required=False, allow_null=True)


class NewTopicSerializer(TopicChangeSerializer):
    name = TopicNameField(help_text="A valid Kafka topic name; '.' and '..' are not allowed.")
    partitions = IntegerField(min_value=1, max_value=MAX_PARTITIONS, required=False)

    def validate_name(self, value: str) -> str:
        if value in (".", ".."):
            raise serializers.ValidationError("'.' and '..' are not valid topic names")
        return value


class ReadParameters(ParameterSerializer):
    partition = IntegerParameter(
        min_value=0,
        max_value=2**31 - 1,
        required=False,
        help_text="The partition to read; by default, all partitions in order.",
    )
    offset = IntegerParameter(
        min_value=-MAX_OFFSET,
        max_value=MAX_OFFSET,
        required=False,
        help_text="Where to start; a negative offset counts from the end. The default is the first kept offset.",
    )
    limit = IntegerParameter(
        min_value=1, max_value=1000, default=100, help_text="The maximum number of records in the response."
    )
    decode = BooleanParameter(
        default="false",
        help_text="Show Avro keys and values as JSON, with their schema ids.",
    )


@extend_schema_field(
    {
        "oneOf": [
            {"type": ["string", "null"]},
            {
                "type": "object",
                "properties": {"base64": {"type": "string"}},
                "required": ["base64"],
                "additionalProperties": False,
            },
        ]
    }
)
class HeaderValueField(serializers.JSONField):
    """Text, null, or `{"base64": "…"}`."""


class StoredHeaderSerializer(serializers.Serializer[Any]):
    key = serializers.CharField(allow_blank=True)
    value = HeaderValueField(help_text='Text, null, or `{"base64": "…"}` if the bytes are not UTF-8.')


ENCODINGS = ["utf-8", "base64", decoded_format()]


class MessageSerializer(serializers.Serializer[Any]):
    partition = serializers.IntegerField()
    offset = serializers.IntegerField()
    timestamp = serializers.IntegerField(help_text="Milliseconds since the epoch.")
    key = serializers.CharField(allow_null=True, allow_blank=True)
    value = serializers.CharField(allow_null=True, allow_blank=True)
    headers = StoredHeaderSerializer(many=True)
    keyEncoding = serializers.ChoiceField(choices=ENCODINGS)
    valueEncoding = serializers.ChoiceField(choices=ENCODINGS)
    keySchemaId = serializers.IntegerField(required=False, help_text="With decode=true: the schema id of an Avro key.")
    valueSchemaId = serializers.IntegerField(
        required=False, help_text="With decode=true: the schema id of an Avro value."
    )
    keyDecodeError = serializers.CharField(
        required=False, help_text="With decode=true: why an Avro key could not be decoded."
    )
    valueDecodeError = serializers.CharField(
        required=False, help_text="With decode=true: why an Avro value could not be decoded."
    )


class ReadProblemSerializer(ProblemSerializer):
    """A problem that includes the location of corrupt records, if the code is corrupt_record."""

    topic = serializers.CharField(required=False)
    partition = serializers.IntegerField(required=False)
    firstOffset = serializers.IntegerField(required=False)
    lastOffset = serializers.IntegerField(required=False, help_text="Reading can continue at the next offset.")
