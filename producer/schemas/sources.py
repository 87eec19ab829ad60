"""The contract of a schema source, and which one is in use: a backend named by dotted path, as the log is."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping

import msgspec
from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from producer.avro import AvroSchema, InvalidAvroSchema
from producer.errors import InvalidSchema


class SchemaSource(ABC):
    """A schema registry as this gateway needs it. Every method may raise RegistryUnavailable.

    One instance serves all threads of a process.
    """

    @abstractmethod
    def schema(self, schema_id: int) -> AvroSchema:
        """The compiled schema, kept from then on: an id never means another one. Raises SchemaNotFound."""

    @abstractmethod
    def id_of(self, subject: str, version: int | None) -> int | None:
        """The id of a subject's version, of its latest where that is None; None when there is no such."""

    @abstractmethod
    def id_of_text(self, subject: str, text: str, register_by: str | None) -> int | None:
        """The id of this schema under a subject; registered by whom it says when new, else None.

        Raises InvalidSchema when it is none, or not compatible with the subject's versions.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise RegistryUnavailable when schemas cannot be looked up now."""


def compile_schema(schema_id: int, text: str, named: Mapping[str, object]) -> AvroSchema:
    """A registered schema made ready for use, under the settings for Avro. Raises InvalidSchema."""
    try:
        return AvroSchema(
            msgspec.json.decode(text),
            named,
            latin1_bytes=settings.TAKHIN_AVRO_BYTES == "latin-1",
            ignore_unknown_fields=settings.TAKHIN_AVRO_UNKNOWN_FIELDS == "ignore",
        )
    except (InvalidAvroSchema, msgspec.DecodeError) as error:
        raise InvalidSchema(f"schema {schema_id}: {error}") from error


@functools.cache
def _make(path: str) -> SchemaSource:
    source: SchemaSource = import_string(path)()
    return source


def current_source() -> SchemaSource:
    """The schema source of this process."""
    return _make(settings.SCHEMA_SOURCE)


def forget(**_: object) -> None:
    """Drop the source and what it has cached; tests call this between databases."""
    _make.cache_clear()


setting_changed.connect(forget)
