"""Describe requests and responses for OpenAPI. Records themselves never pass through these serializers."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.api.serializers import IntegerParameter, ParameterSerializer, ProblemSerializer, StrictSerializer
from producer.pipeline.formats import FORMATS, WITH_SCHEMA
from producer.pipeline.parameters import MAX_SCHEMA_ID, PARAMETERS, Parameter
from topics.api.serializers import HeaderValueField

MAX_WAIT_SECONDS = 30
FORMAT_NAMES = list(FORMATS)


@extend_schema_field({})
class AnyJsonField(serializers.JSONField):
    """Any JSON value, including null."""


class ProduceParameters(ParameterSerializer):
    """The query parameters of a produce request, which pipeline/parameters.py parses."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {parameter.name: _field(parameter) for parameter in PARAMETERS}


def _field(parameter: Parameter) -> serializers.Field[Any, Any, Any, Any]:
    if parameter.values:
        return serializers.ChoiceField(
            choices=list(parameter.values), default=parameter.default, help_text=parameter.help
        )
    if parameter.minimum is None:
        return serializers.CharField(required=False, help_text=parameter.help)
    return IntegerParameter(
        min_value=parameter.minimum, max_value=parameter.maximum, required=False, help_text=parameter.help
    )


class WaitParameters(ParameterSerializer):
    wait = IntegerParameter(
        min_value=0, max_value=MAX_WAIT_SECONDS, default=0, help_text="Seconds to wait for the request to finish."
    )


class HeaderSerializer(StrictSerializer):
    key = serializers.CharField(allow_blank=True)
    value = HeaderValueField(required=False, help_text='Text, null, or `{"base64": "…"}` for bytes.')


class RecordSerializer(StrictSerializer):
    key = AnyJsonField(required=False, help_text="Any JSON value, encoded by key.format. Null or absent is a null key.")
    value = AnyJsonField(
        required=False, help_text="Any JSON value, encoded by value.format. Null or absent is a tombstone."
    )
    partition = serializers.IntegerField(
        required=False,
        allow_null=True,
        help_text="The default is Kafka's murmur2 of the key, or one partition for all records without a key.",
    )
    timestamp = serializers.IntegerField(
        required=False, allow_null=True, min_value=0, help_text="Milliseconds since the epoch. The default is now."
    )
    headers = HeaderSerializer(many=True, required=False, allow_null=True)


class ProduceRequestSerializer(StrictSerializer):
    records = RecordSerializer(many=True, allow_empty=False)
    keySchema = AnyJsonField(required=False, help_text="Avro schema of the keys, as JSON or as a string.")
    valueSchema = AnyJsonField(required=False, help_text="Avro schema of the values, as JSON or as a string.")


class TopicRecordSerializer(RecordSerializer):
    topic = serializers.CharField(help_text="The topic's name.")


class TopicOptionsSerializer(StrictSerializer):
    """How the records of one topic are written, where that differs from the query's parameters."""

    keyFormat = serializers.ChoiceField(choices=FORMAT_NAMES, required=False)
    valueFormat = serializers.ChoiceField(choices=FORMAT_NAMES, required=False)
    keySchema = AnyJsonField(required=False, help_text="SUBJECT, SUBJECT:VERSION, or an Avro schema.")
    valueSchema = AnyJsonField(required=False, help_text="SUBJECT, SUBJECT:VERSION, or an Avro schema.")
    keySchemaId = serializers.IntegerField(required=False, min_value=0, max_value=MAX_SCHEMA_ID)
    valueSchemaId = serializers.IntegerField(required=False, min_value=0, max_value=MAX_SCHEMA_ID)


class TopicsRequestSerializer(StrictSerializer):
    records = TopicRecordSerializer(many=True, allow_empty=False)
    topics = serializers.DictField(
        child=TopicOptionsSerializer(), required=False, help_text="Formats and schemas by topic."
    )


class OutcomeSerializer(serializers.Serializer[Any]):
    """Where a record was written, or why it was not. `topic` is present in requests to several topics."""

    topic = serializers.CharField(required=False)
    partition = serializers.IntegerField(required=False)
    offset = serializers.IntegerField(required=False)
    timestamp = serializers.IntegerField(required=False, help_text="Milliseconds since the epoch.")
    error = serializers.CharField(required=False)
    code = serializers.CharField(required=False)
    retriable = serializers.BooleanField(required=False)


class SchemaIdsSerializer(serializers.Serializer[Any]):
    keySchemaId = serializers.IntegerField(required=False, help_text=f"With key.format={WITH_SCHEMA}.")
    valueSchemaId = serializers.IntegerField(required=False, help_text=f"With value.format={WITH_SCHEMA}.")
    schemas = serializers.DictField(required=False, help_text="The schema ids of each topic, if there are several.")


class ProducedSerializer(SchemaIdsSerializer):
    offsets = OutcomeSerializer(many=True)


class AcceptedSerializer(SchemaIdsSerializer):
    requestId = serializers.CharField()
    status = serializers.ChoiceField(choices=["pending"])


class ProduceProblemSerializer(ProblemSerializer):
    offsets = OutcomeSerializer(many=True, required=False)


class StatusSerializer(SchemaIdsSerializer):
    requestId = serializers.CharField()
    status = serializers.ChoiceField(choices=["pending", "completed", "failed"])
    topic = serializers.CharField(required=False)
    topics = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Of a request to several topics, instead of `topic`."
    )
    recordCount = serializers.IntegerField()
    createdAt = serializers.DateTimeField()
    completedAt = serializers.DateTimeField(required=False)
    offsets = OutcomeSerializer(many=True, required=False)
    error = serializers.CharField(required=False)
    code = serializers.CharField(required=False, help_text="Such as `cancelled`, or that of the first record.")


class ReasonsField(serializers.DictField):
    """What is wrong, for each check that fails."""

    child = serializers.CharField()


class LiveSerializer(serializers.Serializer[Any]):
    alive = serializers.BooleanField()


class ReadySerializer(serializers.Serializer[Any]):
    ready = serializers.BooleanField()
    database = serializers.CharField(required=False, help_text="Such as `SQLite 3.53.4 in journal mode WAL`.")
    failing = serializers.ListField(child=serializers.CharField(), required=False)
    degraded = serializers.ListField(child=serializers.CharField(), required=False)
    reasons = ReasonsField(required=False)


class HealthSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=["ok", "failing"])
    version = serializers.CharField()
    checks = serializers.DictField(child=serializers.BooleanField())
    reasons = ReasonsField(required=False)
