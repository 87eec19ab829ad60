"""Decode the JSON text of a value, rejecting duplicate field names."""

from typing import Any

from core import json_text
from registry.avro_json.errors import Refusal
from registry.avro_json.values import Description, decoder


def decode(text: bytes) -> Any:
    """Return the value, with numbers at full precision. Raises DecodeError, and Refusal for a duplicate name."""
    value = decoder.decode(text)
    if json_text.loses_fields(text, value) and (repeated := json_text.find_repeated(text)):
        raise Refusal("unique names", Description(f'"{repeated.name[:60]}" more than once'), *reversed(repeated.path))
    return value
