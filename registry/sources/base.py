"""The interface of schema sources. Like the log, the source in use is a backend named by dotted path."""

import functools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from registry.avro_json import AvroSchema

# The most schemas whose subjects are cached.
MOST_SUBJECTS = 10_000


class SchemaSource(ABC):
    """A schema registry, as the server uses it. Every method may raise RegistryUnavailable.

    One instance serves all threads of a process.
    """

    # How long a cached list of a schema's subjects is used before it is fetched again.
    again_seconds = 0.0

    def __init__(self) -> None:
        self._subjects: dict[int, tuple[float, frozenset[str]]] = {}

    @abstractmethod
    def schema(self, schema_id: int) -> AvroSchema:
        """Return the compiled schema. Recently used ones are cached, because an id never changes its schema.

        Raises SchemaNotFound, and InvalidSchema for a schema that cannot be used: not Avro, or too large.
        """

    @abstractmethod
    def id_of(self, subject: str, version: int | None) -> int | None:
        """Return the schema id of a subject's version (None: the latest), or None if there is no such version."""

    @abstractmethod
    def id_of_text(self, subject: str, text: str, register_by: str | None) -> int | None:
        """Return the id of this schema under a subject. If it is new, register it in the name of `register_by`.

        Return None for a new schema if `register_by` is None. Raises InvalidSchema if the schema is invalid, or not
        compatible with the subject's versions.
        """

    def is_under(self, schema_id: int, allows: Callable[[str], bool]) -> bool:
        """Return whether one of the subjects that have or had this schema is allowed. The schema may be unknown."""
        asked_at, known = self._subjects.get(schema_id, (float("-inf"), frozenset[str]()))
        # Subjects are only ever added, so a cached match stays valid.
        if any(map(allows, known)):
            return True
        if time.monotonic() - asked_at < self.again_seconds:
            return False
        if len(self._subjects) >= MOST_SUBJECTS:
            self._subjects.clear()
        _, known = self._subjects[schema_id] = time.monotonic(), self.subjects_of(schema_id)
        return any(map(allows, known))

    @abstractmethod
    def subjects_of(self, schema_id: int) -> frozenset[str]:
        """Return every subject that has or had this schema; none for an unknown schema."""

    @abstractmethod
    def check(self) -> None:
        """Raise RegistryUnavailable if schemas cannot be looked up now."""


@functools.cache
def _make(path: str) -> SchemaSource:
    source: SchemaSource = import_string(path)()
    return source


def current_source() -> SchemaSource:
    """Return this process's schema source."""
    return _make(settings.SCHEMA_SOURCE)


def forget(**_: object) -> None:
    """Drop the source and its caches. Tests call this between databases."""
    _make.cache_clear()


setting_changed.connect(forget)
