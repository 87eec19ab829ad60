"""Get schemas from the embedded registry, in this server's own database."""

from collections.abc import Iterator
from contextlib import contextmanager

from core.database import transactions
from core.errors import OutcomeUnknown, StorageUnavailable
from registry import access, errors, store
from registry.avro_json import AvroSchema
from registry.errors import InvalidSchema, RegistryUnavailable, SchemaNotFound
from registry.sources.base import SchemaSource
from registry.sources.compiled import CompiledSchemas


class EmbeddedRegistry(SchemaSource):
    def __init__(self) -> None:
        super().__init__()
        self._compiled = CompiledSchemas()

    def schema(self, schema_id: int) -> AvroSchema:
        if (known := self._compiled.get(schema_id)) is not None:
            return known
        try:
            with _translated():
                stored = store.by_id(schema_id)
                dependencies = store.dependencies(stored)
        except errors.SchemaNotFound:
            raise SchemaNotFound(f"there is no schema with id {schema_id}") from None
        return self._compiled.compile(schema_id, stored.text, dependencies)

    def id_of(self, subject: str, version: int | None) -> int | None:
        try:
            with _translated():
                return store.version(subject, version).schema.id
        except (errors.SubjectNotFound, errors.VersionNotFound):
            return None

    def id_of_text(self, subject: str, text: str, register_by: str | None) -> int | None:
        try:
            with _translated():
                if register_by is not None:
                    return store.register(subject, text, by=register_by).schema.id
                return store.lookup(subject, text).schema.id
        except (errors.SubjectNotFound, errors.SchemaNotFound):
            return None
        except errors.RegistryError as error:
            raise InvalidSchema(str(error)) from error

    def subjects_of(self, schema_id: int) -> frozenset[str]:
        with _translated():
            return frozenset(access.subjects_of(schema_id))

    def check(self) -> None:
        """Do nothing: the registry is in the database, which has its own check."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        with transactions.translated():
            yield
    except (StorageUnavailable, OutcomeUnknown) as error:
        raise RegistryUnavailable(str(error)) from error
