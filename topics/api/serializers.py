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
from topics.api.configs import MAX_RETENTION, ConfigsField, GivenConfigsField
from topics.decoders import decoded_format
from topics.log.validation import MAX_PARTITIONS

MAX_OFFSET = 2**63 - 1
# Kafka's protocol has 16 bits for it.
MAX_REPLICAS = 2**15 - 1


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

    leader = serializers.IntegerField(
        min_value=0, allow_null=True, help_text="The broker that writes the partition; null while there is none."
    )
    replicas = serializers.ListField(
        child=serializers.IntegerField(min_value=0), help_text="The brokers that keep a copy of the partition."
    )
    inSyncReplicas = serializers.ListField(
        child=serializers.IntegerField(min_value=0), help_text="The replicas that have all records."
    )


class TopicSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    partitionCount = serializers.IntegerField(min_value=1)
    replicationFactor = serializers.IntegerField(min_value=0, help_text="How many brokers keep each partition.")
    partitions = PartitionSerializer(many=True)
    retentionMs = serializers.IntegerField(
        allow_null=True, help_text="Records older than this are deleted; null keeps them forever."
    )
    retentionBytes = serializers.IntegerField(
        allow_null=True, help_text="Bytes kept in each partition; null keeps all records."
    )
    configs = ConfigsField(
        help_text="The topic's own configs, by Kafka's names, without those that have their default."
    )


class TopicChangeSerializer(StrictSerializer):
    partitions = IntegerField(
        min_value=1,
        max_value=MAX_PARTITIONS,
        required=False,
        help_text="The number of partitions, which can only grow. Keys may belong to another partition from then on.",
    )
    replicationFactor = IntegerField(
        min_value=1,
        max_value=MAX_REPLICAS,
        required=False,
        help_text="How many brokers keep each partition; the default is the cluster's. It cannot be changed.",
    )
    configs = GivenConfigsField(
        required=False,
        help_text="Topic configs by Kafka's names; null returns one to its default. "
        "The embedded log has only retention.ms and retention.bytes.",
    )
    retentionMs = IntegerField(min_value=1, max_value=MAX_RETENTION, required=False, allow_null=True)
    retentionBytes = IntegerField(min_value=1, max_value=MAX_RETENTION, required=False, allow_null=True)


class NewTopicSerializer(TopicChangeSerializer):
    name = TopicNameField(help_text="A valid Kafka topic name; '.' and '..' are not allowed.")
    partitions = IntegerField(
        min_value=1, max_value=MAX_PARTITIONS, required=False, help_text="The number of partitions."
    )

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
    timestamp = IntegerParameter(
        min_value=0,
        max_value=MAX_OFFSET,
        required=False,
        help_text="Start at the first record with this timestamp, in milliseconds, or a later one. "
        "If there is none, the response is empty. Cannot be combined with `offset`.",
    )
    limit = IntegerParameter(
        min_value=1, max_value=1000, default=100, help_text="The maximum number of records in the response."
    )
    key = serializers.CharField(
        required=False,
        max_length=1000,
        trim_whitespace=False,
        help_text="Only records with this key, as text or as a JSON string. At most 10,000 records are looked through; "
        "the header `X-Takhin-Next` says where to go on.",
    )
    decode = BooleanParameter(
        default="false",
        help_text="Show Avro keys and values as JSON, with their schema ids.",
    )

    def validate(self, attrs: Any) -> Any:
        if "timestamp" in attrs and "offset" in attrs:
            raise serializers.ValidationError({"timestamp": "cannot be combined with offset"})
        if "key" in attrs and "partition" not in attrs:
            raise serializers.ValidationError({"key": "requires partition"})
        return attrs


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


class BrokerSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField(min_value=0)
    host = serializers.CharField(allow_null=True)
    port = serializers.IntegerField(allow_null=True)


class ClusterSerializer(serializers.Serializer[Any]):
    log = serializers.CharField(help_text="The log in use: `embedded` or `kafka`.")
    clusterId = serializers.CharField(allow_null=True, help_text="Kafka's id of the cluster.")
    controller = serializers.IntegerField(
        allow_null=True, help_text="The broker that answers for the controllers; with KRaft, any of them."
    )
    brokers = BrokerSerializer(many=True, help_text="The embedded log is its own broker 0, without an address.")
    versions = serializers.DictField(child=serializers.CharField(), help_text="The versions of the software in use.")


class ReadProblemSerializer(ProblemSerializer):
    """A problem that includes the location of corrupt records, if the code is corrupt_record."""

    topic = serializers.CharField(required=False)
    partition = serializers.IntegerField(required=False)
    firstOffset = serializers.IntegerField(required=False)
    lastOffset = serializers.IntegerField(required=False, help_text="Reading can continue at the next offset.")
