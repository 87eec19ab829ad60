"""Describe the log's answers and judge its parameters; OpenAPI is generated from these."""

import re
from typing import Any

from django.http import QueryDict
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from topics.backends.base import MAX_PARTITIONS

MAX_OFFSET = 2**63 - 1


class InvalidParameters(serializers.ValidationError):
    """What is wrong with a query, as apart from a body."""


class ParameterSerializer(serializers.Serializer[Any]):
    """Query parameters; an unknown or repeated one is an error, for it was surely meant to do something."""

    def is_valid(self, *, raise_exception: bool = False) -> bool:
        """Raises InvalidParameters."""
        try:
            return super().is_valid(raise_exception=raise_exception)
        except serializers.ValidationError as error:
            raise InvalidParameters(error.detail) from None

    def to_internal_value(self, data: QueryDict) -> Any:
        for name, values in data.lists():
            if name not in self.fields:
                known = f"known are {', '.join(self.fields)}" if self.fields else "none is known here"
                raise serializers.ValidationError({name: f"unknown parameter; {known}"})
            if len(values) > 1:
                raise serializers.ValidationError({name: "this parameter stands more than once"})
        # As a plain dict: to REST framework an empty value of a form is an absent one.
        return super().to_internal_value(data.dict())


JSON_TYPES = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def unexpected(expected: str, data: object) -> serializers.ValidationError:
    """Names types as JSON does."""
    return serializers.ValidationError(f"expected {expected}, got {JSON_TYPES[type(data)]}")


class StrictSerializer(serializers.Serializer[Any]):
    """A JSON body; an unknown member is an error."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            expected = f"an object with fields of {', '.join(self.fields)}"
            raise serializers.ValidationError({"non_field_errors": unexpected(expected, data).detail})
        for name in data:
            if name not in self.fields:
                raise serializers.ValidationError({name[:60]: "unknown member"})
        return super().to_internal_value(data)


class IntegerField(serializers.IntegerField):
    """A JSON integer: neither a string, nor a boolean, nor a fraction."""

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            raise unexpected("integer", data)
        return super().to_internal_value(data)


class IntegerParameter(serializers.IntegerField):
    """ASCII digits: Python's own `int` would take `1_0`, `+1` and the digits of any script."""

    def to_internal_value(self, data: Any) -> int:
        if not re.fullmatch(r"-?[0-9]+", str(data)):
            self.fail("invalid")
        return super().to_internal_value(data)


class BooleanField(serializers.BooleanField):
    """A JSON boolean, and nothing that resembles one."""

    def to_internal_value(self, data: Any) -> bool:
        if type(data) is not bool:
            raise unexpected("boolean", data)
        return data


class BooleanParameter(serializers.ChoiceField):
    """`true` or `false` in any case, for Python's clients send `True`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=["true", "false"], **options)

    def to_internal_value(self, data: Any) -> str:
        if str(data).lower() not in self.choices:
            raise serializers.ValidationError(f"must be true or false, got {str(data)[:60]!r}")
        return str(data).lower()


class TopicNameField(serializers.RegexField):
    """A JSON string as it is: neither a number nor trimmed."""

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
        help_text="The next offset to be written; null while no broker leads the partition.",
    )
    firstOffset = serializers.IntegerField(
        min_value=0, allow_null=True, help_text="The first offset still kept; null while no broker leads the partition."
    )


class TopicSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    partitionCount = serializers.IntegerField(min_value=1)
    partitions = PartitionSerializer(many=True)
    retentionMs = serializers.IntegerField(allow_null=True, help_text="Null keeps records for ever.")
    retentionBytes = serializers.IntegerField(allow_null=True, help_text="Of each partition; null keeps all.")
    registersSchemas = serializers.BooleanField(help_text="Whether producers may register new schemas for it.")


class TopicChangeSerializer(StrictSerializer):
    retentionMs = IntegerField(min_value=1, max_value=MAX_OFFSET, required=False, allow_null=True)
    retentionBytes = IntegerField(min_value=1, max_value=MAX_OFFSET, required=False, allow_null=True)
    registersSchemas = BooleanField(required=False)


class NewTopicSerializer(TopicChangeSerializer):
    name = TopicNameField(help_text="As Kafka: neither '.' nor '..'.")
    partitions = IntegerField(min_value=1, max_value=MAX_PARTITIONS, required=False)

    def validate_name(self, value: str) -> str:
        if value in (".", ".."):
            raise serializers.ValidationError("neither '.' nor '..' is a topic name")
        return value


class ReadParameters(ParameterSerializer):
    partition = IntegerParameter(
        min_value=0, max_value=2**31 - 1, required=False, help_text="Without it, every partition is read in turn."
    )
    offset = IntegerParameter(
        min_value=-MAX_OFFSET,
        max_value=MAX_OFFSET,
        required=False,
        help_text="Negative counts from the end; without it, reading starts at the first kept offset.",
    )
    limit = IntegerParameter(min_value=1, max_value=1000, default=100, help_text="Of the whole answer.")
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
    value = HeaderValueField(help_text='Text, null, or `{"base64": "…"}` where the bytes are not UTF-8.')


ENCODINGS = ["utf-8", "base64", "avro"]


class MessageSerializer(serializers.Serializer[Any]):
    partition = serializers.IntegerField()
    offset = serializers.IntegerField()
    timestamp = serializers.IntegerField(help_text="Milliseconds since the epoch.")
    key = serializers.CharField(allow_null=True, allow_blank=True)
    value = serializers.CharField(allow_null=True, allow_blank=True)
    headers = StoredHeaderSerializer(many=True)
    keyEncoding = serializers.ChoiceField(choices=ENCODINGS)
    valueEncoding = serializers.ChoiceField(choices=ENCODINGS)
    keySchemaId = serializers.IntegerField(required=False, help_text="With decode=true, of an Avro key.")
    valueSchemaId = serializers.IntegerField(required=False, help_text="With decode=true, of an Avro value.")
    keyDecodeError = serializers.CharField(
        required=False, help_text="With decode=true, why an Avro key is not decoded."
    )
    valueDecodeError = serializers.CharField(
        required=False, help_text="With decode=true, why an Avro value is not decoded."
    )


class ProblemSerializer(serializers.Serializer[Any]):
    """RFC 9457 `application/problem+json`."""

    type = serializers.CharField(help_text="`urn:takhin:problem:` and the code.")
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="What was wrong, and where.")
    error = serializers.CharField(help_text="The short text of this error.")
    code = serializers.CharField(help_text="The stable slug of this error.")
    retriable = serializers.BooleanField(help_text="Whether the same request may succeed later.")
    instance = serializers.CharField(help_text="The X-Request-Id, as in the logs.")


class ReadProblemSerializer(ProblemSerializer):
    """With the code corrupt_record, where it lies."""

    topic = serializers.CharField(required=False)
    partition = serializers.IntegerField(required=False)
    firstOffset = serializers.IntegerField(required=False)
    lastOffset = serializers.IntegerField(required=False, help_text="Records can be read from the next one on.")
