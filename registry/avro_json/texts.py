"""Decode the JSON text of a value, in which no record or map may have two entries of one name."""

from typing import Any

from registry.avro_json.errors import Refusal
from registry.avro_json.values import Words, decoder
from topics import json_text


def decode(text: bytes) -> Any:
    """The value, with every digit of its numbers. Raises DecodeError, and Refusal for a repeated name."""
    value = decoder.decode(text)
    if json_text.loses_fields(text, value) and (repeated := json_text.find_repeated(text)):
        raise Refusal("each name once", Words(f'"{repeated.name[:60]}" more than once'), *reversed(repeated.path))
    return value
