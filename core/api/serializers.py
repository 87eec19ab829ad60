"""Serializers that validate parameters and bodies, and that OpenAPI is generated from."""

import functools
import re
from typing import Any

from django.http import QueryDict
from rest_framework import serializers


class InvalidParameters(serializers.ValidationError):
    """The query parameters are invalid, as opposed to the body."""


class ParameterSerializer(serializers.Serializer[Any]):
    """Query parameters. Unknown and repeated parameters are errors, because the client meant something by them."""

    @classmethod
    def of(cls, given: QueryDict) -> dict[str, Any]:
        """Return the validated parameters. Raises InvalidParameters."""
        try:
            found: dict[str, Any] = _shared(cls).run_validation(given)
        except serializers.ValidationError as error:
            raise InvalidParameters(error.detail) from None
        return found

    def to_internal_value(self, data: QueryDict) -> Any:
        for name, values in data.lists():
            if name not in self.fields:
                known = f"expected {', '.join(self.fields)}" if self.fields else "this endpoint has none"
                raise serializers.ValidationError({name: f"unknown parameter; {known}"})
            if len(values) > 1:
                raise serializers.ValidationError({name: "this parameter appears more than once"})
        # A plain dict, because REST framework treats an empty value in a QueryDict as missing.
        return super().to_internal_value(data.dict())


@functools.cache
def _shared(kind: type[ParameterSerializer]) -> ParameterSerializer:
    """Return one serializer for all requests, because a new one copies its fields, which takes longer than the rest."""
    return kind()


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
