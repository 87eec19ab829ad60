"""Serializers that validate requests and describe responses. OpenAPI is generated from them."""

import re
from typing import Any

from django.http import QueryDict
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from topics.backends.base import MAX_PARTITIONS

MAX_OFFSET = 2**63 - 1


class InvalidParameters(serializers.ValidationError):
    """The query parameters are invalid, as opposed to the body."""


class ParameterSerializer(serializers.Serializer[Any]):
    """Query parameters. Unknown and repeated parameters are errors, because the client meant something by them."""

    def is_valid(self, *, raise_exception: bool = False) -> bool:
        """Raises InvalidParameters."""
        try:
            return super().is_valid(raise_exception=raise_exception)
        except serializers.ValidationError as error:
            raise InvalidParameters(error.detail) from None

    def to_internal_value(self, data: QueryDict) -> Any:
        for name, values in data.lists():
            if name not in self.fields:
                known = f"expected {', '.join(self.fields)}" if self.fields else "this endpoint has none"
                raise serializers.ValidationError({name: f"unknown parameter; {known}"})
            if len(values) > 1:
                raise serializers.ValidationError({name: "this parameter appears more than once"})
        # A plain dict, because REST framework treats an empty value in a QueryDict as missing.
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
    """Return a ValidationError that names both types as JSON does."""
    return serializers.ValidationError(f"expected {expected}, got {JSON_TYPES[type(data)]}")


class StrictSerializer(serializers.Serializer[Any]):
    """A JSON body. Unknown fields are errors."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            expected = f"an object with the fields {', '.join(self.fields)}"
            raise serializers.ValidationError({"non_field_errors": unexpected(expected, data).detail})
        for name in data:
            if name not in self.fields:
                raise serializers.ValidationError({name[:60]: "unknown field"})
        return super().to_internal_value(data)


class IntegerField(serializers.IntegerField):
    """A JSON integer. Strings, booleans and fractions are rejected."""

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            raise unexpected("integer", data)
        return super().to_internal_value(data)


class IntegerParameter(serializers.IntegerField):
    """An integer in ASCII digits: Python's `int` also accepts `1_0`, `+1` and the digits of any script."""

    def to_internal_value(self, data: Any) -> int:
        if not re.fullmatch(r"-?[0-9]+", str(data)):
            self.fail("invalid")
        return super().to_internal_value(data)


class BooleanField(serializers.BooleanField):
    """A JSON boolean. Lookalikes such as `"true"` and 1 are rejected."""

    def to_internal_value(self, data: Any) -> bool:
        if type(data) is not bool:
            raise unexpected("boolean", data)
        return data


class BooleanParameter(serializers.ChoiceField):
    """`true` or `false`, ignoring case, because Python clients send `True`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=["true", "false"], **options)

    def to_internal_value(self, data: Any) -> str:
        if str(data).lower() not in self.choices:
            raise serializers.ValidationError(f"must be true or false, got {str(data)[:60]!r}")
        return str(data).lower()


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
    registersSchemas = serializers.BooleanField(
        help_text="Whether produce requests may register new schemas for the topic."
    )


class TopicChangeSerializer(StrictSerializer):
    retentionMs = IntegerField(min_value=1, max_value=MAX_OFFSET, required=False, allow_null=True)
    retentionBytes = IntegerField(min_value=1, max_value=MAX_OFFSET, required=False, allow_null=True)
    registersSchemas = BooleanField(required=False)


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


class ProblemSerializer(serializers.Serializer[Any]):
    """RFC 9457 `application/problem+json`."""

    type = serializers.CharField(help_text="`urn:takhin:problem:` followed by the code.")
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="What is wrong, and where.")
    error = serializers.CharField(help_text="A short description of the error.")
    code = serializers.CharField(help_text="The stable code of the error.")
    retriable = serializers.BooleanField(help_text="Whether the same request may succeed later.")
    instance = serializers.CharField(help_text="The request's X-Request-Id, as in the logs.")


class ReadProblemSerializer(ProblemSerializer):
    """A problem that includes the location of corrupt records, if the code is corrupt_record."""

    topic = serializers.CharField(required=False)
    partition = serializers.IntegerField(required=False)
    firstOffset = serializers.IntegerField(required=False)
    lastOffset = serializers.IntegerField(required=False, help_text="Reading can continue at the next offset.")
