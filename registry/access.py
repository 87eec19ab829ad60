"""Decide which subjects a caller may see and change, based on the topics its API key allows."""

from collections.abc import Iterable
from typing import Protocol

from registry import errors
from registry.models import Action, Change
from registry.subjects import topic_of


class Key(Protocol):
    """The parts of an API key that the registry uses."""

    prefix: str

    def allows_every_topic(self) -> bool: ...

    def allows_subject(self, subject: str) -> bool: ...


class Access:
    """The rights of one API key. Without a key (the server does not require one), everything is allowed."""

    def __init__(self, key: Key | None) -> None:
        self._key = None if key is None or key.allows_every_topic() else key

    def sees(self, subject: str) -> bool:
        return self._key is None or self._key.allows_subject(subject)

    def check_subject(self, subject: str) -> None:
        """Raise SubjectNotAllowed if the key does not allow the subject.

        The error depends only on the name, so it does not reveal whether the subject exists.
        """
        if not self.sees(subject):
            raise errors.SubjectNotAllowed(subject, topic_of(subject))

    def check_every_topic(self) -> None:
        """Raise GlobalNotAllowed unless the key may change global settings."""
        if self._key is not None:
            raise errors.GlobalNotAllowed

    def check_schema(self, schema_id: int) -> None:
        """Raise SchemaNotFound, as for an unknown id, unless at least one of the schema's subjects is visible."""
        if not self.visible_schemas([schema_id]):
            raise errors.SchemaNotFound(f"Schema {schema_id} not found")

    def visible_schemas(self, ids: Iterable[int]) -> list[int]:
        """Return the ids that are visible, in the given order."""
        wanted = list(ids)
        if self._key is None:
            return wanted
        found = {schema_id for schema_id, subject in _registered(wanted) if self.sees(subject)}
        return [schema_id for schema_id in wanted if schema_id in found]


def subjects_of(schema_id: int) -> set[str]:
    """Return every subject a schema was ever registered under.

    Deleted versions count too, because stored records keep their schema id.
    """
    return {subject for _, subject in _registered([schema_id])}


def _registered(ids: list[int]) -> set[tuple[int | None, str]]:
    rows = Change.objects.filter(what=Action.REGISTERED, schema_id__in=ids).order_by()
    return set(rows.values_list("schema_id", "subject").distinct())
