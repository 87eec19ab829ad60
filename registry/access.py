"""What a caller may see and change here: the subjects of the topics that its API key allows."""

from collections.abc import Iterable
from typing import Protocol

from registry import errors
from registry.models import Action, Change
from registry.subjects import topic_of


class Key(Protocol):
    """An API key, as far as the registry knows one."""

    prefix: str

    def allows_every_topic(self) -> bool: ...

    def allows_subject(self, subject: str) -> bool: ...


class Access:
    """The rights of one key; without a key (a server that requires none) everything is allowed."""

    def __init__(self, key: Key | None) -> None:
        self._key = None if key is None or key.allows_every_topic() else key

    def sees(self, subject: str) -> bool:
        return self._key is None or self._key.allows_subject(subject)

    def check_subject(self, subject: str) -> None:
        """Raise SubjectNotAllowed. The error depends on the name alone, so it does not tell whether that exists."""
        if not self.sees(subject):
            raise errors.SubjectNotAllowed(subject, topic_of(subject))

    def check_every_topic(self) -> None:
        """Raise GlobalNotAllowed unless the key may set what holds for all subjects."""
        if self._key is not None:
            raise errors.GlobalNotAllowed

    def check_schema(self, schema_id: int) -> None:
        """Raise SchemaNotFound, as for an unknown id, unless one of the schema's subjects is visible."""
        if not self.visible_schemas([schema_id]):
            raise errors.SchemaNotFound(schema_id)

    def visible_schemas(self, ids: Iterable[int]) -> list[int]:
        """Those of these ids that are visible."""
        wanted = list(ids)
        if self._key is None:
            return wanted
        found = {schema_id for schema_id, subject in _registered(wanted) if self.sees(subject)}
        return [schema_id for schema_id in wanted if schema_id in found]


def subjects_of(schema_id: int) -> set[str]:
    """Every subject that a schema was ever registered under: stored records keep its id when a version is deleted."""
    return {subject for _, subject in _registered([schema_id])}


def _registered(ids: list[int]) -> set[tuple[int | None, str]]:
    rows = Change.objects.filter(what=Action.REGISTERED, schema_id__in=ids).order_by()
    return set(rows.values_list("schema_id", "subject").distinct())
