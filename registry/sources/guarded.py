"""Restrict an API key to the schemas of its own topics' subjects."""

from registry.access import Key
from registry.avro_json import AvroSchema
from registry.errors import SchemaNotFound, SubjectNotAllowed
from registry.sources.base import SchemaSource, current_source
from registry.subjects import topic_of


class GuardedSource(SchemaSource):
    """A schema source restricted to what one key may use."""

    def __init__(self, source: SchemaSource, key: Key) -> None:
        super().__init__()
        self._source = source
        self._key = key

    def schema(self, schema_id: int) -> AvroSchema:
        """Raises SchemaNotFound for a schema that the key may not use, as for an unknown one."""
        if not self._sees(schema_id):
            raise SchemaNotFound(f"there is no schema with id {schema_id}")
        return self._source.schema(schema_id)

    def id_of(self, subject: str, version: int | None) -> int | None:
        """Raises SubjectNotAllowed."""
        self._check(subject)
        return self._source.id_of(subject, version)

    def id_of_text(self, subject: str, text: str, register_by: str | None) -> int | None:
        """Raises SubjectNotAllowed."""
        self._check(subject)
        return self._source.id_of_text(subject, text, register_by)

    def subjects_of(self, schema_id: int) -> frozenset[str]:
        return self._source.subjects_of(schema_id)

    def check(self) -> None:
        self._source.check()

    def _sees(self, schema_id: int) -> bool:
        return self._source.is_under(schema_id, self._key.allows_subject)

    def _check(self, subject: str) -> None:
        if not self._key.allows_subject(subject):
            raise SubjectNotAllowed(subject, topic_of(subject))


def source_for(key: Key | None) -> SchemaSource:
    """Return this process's schema source, restricted to what the key may use."""
    source = current_source()
    return source if key is None or key.allows_every_topic() else GuardedSource(source, key)
