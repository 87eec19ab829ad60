"""Get schemas from the embedded registry, in this server's own database."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

from core.database import transactions
from core.errors import OutcomeUnknown, StorageUnavailable
from registry import access, errors, schema_ids, store
from registry.avro_json import AvroSchema
from registry.errors import InvalidSchema, RegistryUnavailable, SchemaNotFound
from registry.sources.base import SchemaSource
from registry.sources.compiled import CompiledSchemas

# To parse the schema that each request brings along takes longer than to encode a record. Larger ones are rare.
MOST_FINGERPRINTS, MOST_CHARACTERS = 256, 16 * 1024


class EmbeddedRegistry(SchemaSource):
    def __init__(self) -> None:
        super().__init__()
        self._compiled = CompiledSchemas()
        self._fingerprint = functools.lru_cache(maxsize=MOST_FINGERPRINTS)(store.fingerprint)

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
        with _translated():
            return schema_ids.of_version(subject, version)

    def id_of_text(self, subject: str, text: str, register_by: str | None) -> int | None:
        try:
            with _translated():
                if register_by is not None:
                    return store.register(subject, text, by=register_by).schema.id
                fingerprint = self._fingerprint if len(text) <= MOST_CHARACTERS else store.fingerprint
                return schema_ids.of_fingerprint(subject, fingerprint(text))
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
