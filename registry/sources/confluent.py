"""Get schemas from an external Confluent-compatible registry, with timeouts, and from cache when it is down."""

import concurrent.futures
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import structlog

from core import turns
from registry.avro_json import AvroSchema
from registry.errors import InvalidSchema, RegistryUnavailable, SchemaNotFound
from registry.measures import ERRORS
from registry.schemas import AVRO, MAX_TOTAL_CHARACTERS
from registry.sources.base import SchemaSource
from registry.sources.client import TOTAL_SECONDS, Fault, Held, Reference, Refused, RegistryClient, Trouble
from registry.sources.compiled import CompiledSchemas

T = TypeVar("T")
log = structlog.get_logger("takhin.registry")
# After a failure, nobody calls the registry for this long, so that requests fail at once and not after five seconds.
PAUSE_SECONDS = 2.0
# Another process may have registered a newer version.
LATEST_SECONDS = 5.0
# The same schema can be written in many ways, and each text is a separate entry of about 200 bytes.
MOST_REMEMBERED = 10_000
# How old the last response may be before a health check calls the registry again.
CHECK_SECONDS = 5.0
# The most server threads that may wait for the registry at the same time.
CONNECTIONS = 4
# Each reference takes a request. The embedded registry allows the same number for one schema.
MOST_REFERENCES = 100
# Getting all of a schema's references may take no longer than two responses.
REFERENCES_SECONDS = 2 * TOTAL_SECONDS


class ConfluentRegistry(SchemaSource):
    # Each check is a request, and a page of records may have a thousand schemas of other topics.
    again_seconds = 1.0

    def __init__(self) -> None:
        super().__init__()
        self._client = RegistryClient()
        self._pool = concurrent.futures.ThreadPoolExecutor(CONNECTIONS, "takhin-registry")
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        self._paused_until = 0.0
        self._asked_at = 0.0
        self._is_down = False
        self._compiled = CompiledSchemas()
        # Digest of a question -> (schema id, when it expires).
        self._ids: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def schema(self, schema_id: int) -> AvroSchema:
        if (known := self._compiled.get(schema_id)) is not None:
            return known
        found = self._ask(lambda: self._client.by_id(schema_id))
        if found is None:
            raise SchemaNotFound(f"there is no schema with id {schema_id}")
        try:
            dependencies = self._dependencies(found)
        except InvalidSchema as error:
            raise self._compiled.refused(schema_id, str(error)) from None
        return self._compiled.compile(schema_id, found.schema, dependencies)

    def id_of(self, subject: str, version: int | None) -> int | None:
        def ask() -> int | None:
            found = self._client.version(subject, version)
            return None if found is None else found.id

        return self._remembered(("version", subject, version), ask, LATEST_SECONDS if version is None else float("inf"))

    def id_of_text(self, subject: str, text: str, register_by: str | None) -> int | None:
        def ask() -> int | None:
            if register_by is not None:
                return self._client.register(subject, text)
            return self._client.lookup(subject, text)

        return self._remembered(("text", subject, text), ask, float("inf"))

    def subjects_of(self, schema_id: int) -> frozenset[str]:
        return frozenset(self._ask(lambda: self._client.subjects(schema_id)))

    def check(self) -> None:
        """Judge by the last response, so that a probe never waits. If it is old, ask again in the background."""
        now = time.monotonic()
        if now - self._asked_at > CHECK_SECONDS and now >= self._paused_until:
            self._asked_at = now
            threading.Thread(target=self._probe, name="takhin-registry-probe", daemon=True).start()
        if self._is_down:
            raise RegistryUnavailable("the schema registry does not respond")

    def _probe(self) -> None:
        try:
            self._ask(self._client.types)
        except (RegistryUnavailable, InvalidSchema):
            # `_ask` has recorded and logged it.
            return

    def _remembered(self, asked: tuple[object, ...], ask: Callable[[], int | None], seconds: float) -> int | None:
        """Return the requested id: the cached one while it is fresh, or while the registry is down."""
        name = hashlib.sha256(repr(asked).encode()).digest()
        known = self._ids.get(name)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        try:
            found = self._ask(ask)
        except RegistryUnavailable:
            if known is None:
                raise
            return known[0]
        self._ids.pop(name, None)
        if found is not None:
            self._ids[name] = (found, time.monotonic() + seconds)
            while len(self._ids) > MOST_REMEMBERED:
                self._ids.popitem(last=False)
        return found

    def _dependencies(self, schema: Held) -> list[str]:
        """Return the texts of all schemas that a schema references, each after its own references, without duplicates.

        Raises InvalidSchema, SchemaNotFound, RegistryUnavailable.
        """
        until = time.monotonic() + REFERENCES_SECONDS
        texts: dict[Reference, str] = {}
        under_way: set[Reference] = set()

        def visit(held: Held) -> None:
            _check_type(held)
            for reference in held.references or ():
                if reference in texts:
                    continue
                if reference in under_way:
                    raise InvalidSchema(f"its references lead back to {_shown(reference)}")
                if len(under_way) + len(texts) >= MOST_REFERENCES:
                    raise InvalidSchema(f"it references more than {MOST_REFERENCES} other schemas")
                if time.monotonic() > until:
                    raise RegistryUnavailable("the schema registry took too long to return a schema's references")
                under_way.add(reference)
                found = self._referenced(reference)
                visit(found)
                under_way.remove(reference)
                texts[reference] = found.schema
                if sum(map(len, texts.values())) > MAX_TOTAL_CHARACTERS:
                    raise InvalidSchema(f"the schemas it references have more than {MAX_TOTAL_CHARACTERS} characters")

        visit(schema)
        return list(texts.values())

    def _referenced(self, reference: Reference) -> Held:
        found = self._ask(partial(self._client.version, reference.subject, reference.version, deleted=True))
        if found is None:
            raise SchemaNotFound(f"there is no {_shown(reference)}, which the schema references")
        return found

    def _ask(self, call: Callable[[], T]) -> T:
        """Return the registry's response. Raises RegistryUnavailable, InvalidSchema."""
        if time.monotonic() < self._paused_until:
            raise RegistryUnavailable("the schema registry did not respond a moment ago")
        if not self._free.acquire(blocking=False):
            raise RegistryUnavailable("too many requests are waiting for the schema registry")
        future = self._pool.submit(call)
        turns.end()
        future.add_done_callback(lambda _: self._free.release())
        self._asked_at = time.monotonic()
        try:
            found = future.result(TOTAL_SECONDS)
        except Fault as fault:
            self._is_down = False
            raise InvalidSchema(str(fault)) from None
        except Refused as error:
            # Other requests may succeed, so do not pause.
            self._is_down = True
            ERRORS.add("refused")
            log.warning("registry_refuses", reason=str(error))
            raise RegistryUnavailable(str(error)) from None
        except (Trouble, concurrent.futures.TimeoutError) as error:
            raise self._unavailable(f"{type(error).__name__}: {error}") from error
        self._is_down = False
        return found

    def _unavailable(self, reason: str) -> RegistryUnavailable:
        self._paused_until = time.monotonic() + PAUSE_SECONDS
        self._is_down = True
        ERRORS.add("unavailable")
        log.warning("registry_unavailable", reason=reason)
        return RegistryUnavailable("the schema registry does not respond")


def _check_type(held: Held) -> None:
    kind = held.schemaType or AVRO
    if kind != AVRO:
        raise InvalidSchema(f"its type is {kind[:40]}; only {AVRO} is supported")
    if not held.schema:
        raise InvalidSchema("it has no text")


def _shown(reference: Reference) -> str:
    return f"version {reference.version} of subject {reference.subject[:100]!r}"
