"""The contract of a schema source, and which one is in use: a backend named by dotted path, as the log is."""

import functools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from registry.avro_json import AvroSchema

# Whose subjects are remembered.
MOST_SUBJECTS = 10_000


class SchemaSource(ABC):
    """A schema registry as this gateway needs it. Every method may raise RegistryUnavailable.

    One instance serves all threads of a process.
    """

    # How long it may take until a schema is known under one more subject.
    again_seconds = 0.0

    def __init__(self) -> None:
        self._subjects: dict[int, tuple[float, frozenset[str]]] = {}

    @abstractmethod
    def schema(self, schema_id: int) -> AvroSchema:
        """The compiled schema; those last used are kept, as an id never means another schema.

        Raises SchemaNotFound, and InvalidSchema for one that cannot be used: of another type than Avro, or too large.
        """

    @abstractmethod
    def id_of(self, subject: str, version: int | None) -> int | None:
        """The id of a subject's version, of its latest where that is None; None when there is no such."""

    @abstractmethod
    def id_of_text(self, subject: str, text: str, register_by: str | None) -> int | None:
        """The id of this schema under a subject; registered by whom it says when new, else None.

        Raises InvalidSchema when it is none, or not compatible with the subject's versions.
        """

    def is_under(self, schema_id: int, allows: Callable[[str], bool]) -> bool:
        """Whether one of the subjects that have or had this schema is allowed; the schema may be unknown."""
        asked_at, known = self._subjects.get(schema_id, (float("-inf"), frozenset[str]()))
        # Subjects are only added, so what was seen once is seen.
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
        """Every subject that has or had this schema; none for an unknown one."""

    @abstractmethod
    def check(self) -> None:
        """Raise RegistryUnavailable when schemas cannot be looked up now."""


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
