"""Read stored bytes that the log itself knows nothing of, by the class that the setting RECORD_DECODER names."""

from typing import Any, NamedTuple, Protocol

from django.conf import settings
from django.utils.module_loading import import_string


class Decoded(NamedTuple):
    """JSON text, and the id of the schema by which it was written."""

    text: str
    schema_id: int


class Undecoded(Exception):
    """Says why bytes that were written by a schema are not shown by it."""


class Decoder(Protocol):
    def decode(self, data: bytes) -> Decoded | None:
        """None for bytes that were written by no schema. Raises Undecoded."""


def new_decoder(key: Any = None) -> Decoder:
    """One for each answer, which may bound what it takes.

    `key` is whatever the site authenticates with, and bounds which schemas are known; None sees every schema.
    """
    decoder: Decoder = import_string(settings.RECORD_DECODER)(key)
    return decoder
