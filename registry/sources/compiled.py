"""Cache the most recently used compiled schemas, in bounded memory."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from registry import errors, schemas
from registry.avro_json import AvroSchema
from registry.errors import InvalidSchema
from registry.measures import LOOKUPS

# A character of schema text takes 15 to 70 bytes when compiled, so this is 150 MB at most: 1000 schemas of 2 kB fit.
MOST_CHARACTERS = 2 * 1024 * 1024
# The cost of a schema besides its text.
LEAST_CHARACTERS = 100


class CompiledSchemas:
    """Compiled schemas by id. An id never changes its schema. An unusable schema is cached as the reason."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[AvroSchema | str, int]] = OrderedDict()
        self._characters = 0
        self._lock = threading.Lock()
        # Compiling takes more memory than its result, so only one thread compiles at a time.
        self._compiling = threading.Lock()

    def get(self, schema_id: int) -> AvroSchema | None:
        """Raises InvalidSchema."""
        with self._lock:
            found = self._kept.get(schema_id)
            LOOKUPS.add("miss" if found is None else "hit")
            if found is None:
                return None
            self._kept.move_to_end(schema_id)
        if isinstance(found[0], str):
            raise InvalidSchema(found[0])
        return found[0]

    def compile(self, schema_id: int, text: str, dependencies: Sequence[str]) -> AvroSchema:
        """Compile and cache the schema, unless another thread has just done so. Raises InvalidSchema."""
        with self._compiling:
            if (known := self.get(schema_id)) is not None:
                return known
            try:
                made = compile_text(text, dependencies)
            except InvalidSchema as error:
                raise self.refused(schema_id, str(error)) from None
            self._keep(schema_id, made, len(text) + sum(map(len, dependencies)))
        return made

    def refused(self, schema_id: int, reason: str) -> InvalidSchema:
        """Cache the reason why a schema cannot be used, and return the error to raise."""
        reason = f"schema {schema_id}: {reason}"
        self._keep(schema_id, reason, len(reason))
        return InvalidSchema(reason)

    def _keep(self, schema_id: int, made: AvroSchema | str, characters: int) -> None:
        with self._lock:
            _, before = self._kept.pop(schema_id, (None, 0))
            characters += LEAST_CHARACTERS
            self._kept[schema_id] = made, characters
            self._characters += characters - before
            while self._characters > MOST_CHARACTERS and len(self._kept) > 1:
                _, (_, dropped) = self._kept.popitem(last=False)
                self._characters -= dropped


def compile_text(text: str, dependencies: Sequence[str] = ()) -> AvroSchema:
    """Compile a schema with the embedded registry's validation. Raises InvalidSchema."""
    try:
        return schemas.compile_text(text, dependencies)
    except (errors.InvalidSchema, errors.SchemaTooLarge) as error:
        raise InvalidSchema(str(error).removeprefix("Invalid schema: ")) from None
