"""Decode stored bytes with the class named by the setting RECORD_DECODER. The log itself knows only bytes."""

from typing import Any, NamedTuple, Protocol

from django.conf import settings
from django.utils.module_loading import import_string


class Decoded(NamedTuple):
    """JSON text, the id of the schema that the bytes were written with, and the name of their format."""

    text: str
    schema_id: int
    format: str


class Undecoded(Exception):
    """The bytes have a schema but cannot be decoded; the message tells why."""


class Decoder(Protocol):
    # The name of the format.
    format: str

    def decode(self, data: bytes) -> Decoded | None:
        """Decode bytes; return None if they were written without a schema. Raises Undecoded."""


def decoded_format() -> str:
    """Return the name of the format that decoders decode."""
    name: str = import_string(settings.RECORD_DECODER).format
    return name


def new_decoder(key: Any = None) -> Decoder:
    """Create a decoder. Use one per response, because a decoder may limit the total work.

    `key` is the site's authentication object and determines which schemas are visible; None sees all schemas.
    """
    decoder: Decoder = import_string(settings.RECORD_DECODER)(key)
    return decoder
