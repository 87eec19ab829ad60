"""Read stored bytes that the log itself knows nothing of, by the function that the setting RECORD_DECODER names."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string


def decode(data: bytes | None, key: Any = None) -> tuple[str, int] | None:
    """The JSON text and the schema id of bytes that were written by a schema that `key` may see; None for any others.

    `key` is whatever the site authenticates with; None sees every schema.
    """
    decoder: Callable[[bytes, Any], tuple[str, int] | None] = import_string(settings.RECORD_DECODER)
    return None if data is None else decoder(data, key)
