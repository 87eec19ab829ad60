"""Take schemas from a Confluent-compatible registry elsewhere, bounded in time and forgiving when it is down."""

import concurrent.futures
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import httpx2 as httpx
import msgspec
import structlog
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError
from django.conf import settings

from producer.avro import AvroSchema
from producer.errors import InvalidSchema, RegistryUnavailable, SchemaNotFound
from producer.schemas.sources import SchemaSource, compile_schema

T = TypeVar("T")
log = structlog.get_logger("takhin.registry")
CONNECT_SECONDS = 2.0
TOTAL_SECONDS = 5.0
# After a failure nobody asks for this long, so that requests fail at once and not one after another in five seconds.
PAUSE_SECONDS = 2.0
# Another process may have registered a newer version.
LATEST_SECONDS = 5.0
# One schema can be written in any number of ways, and each is a name of its own.
MOST_REMEMBERED = 10_000
# How old the last answer may be before a health check has the registry asked again.
CHECK_SECONDS = 5.0
# Bounds how many threads of the server may wait for the registry at the same time.
CONNECTIONS = 4


class ConfluentRegistry(SchemaSource):
    # Each time is a request, and a page of records may hold a thousand schemas of others.
    again_seconds = 1.0

    def __init__(self) -> None:
        super().__init__()
        self._client = SchemaRegistryClient(_configuration())
        self._pool = concurrent.futures.ThreadPoolExecutor(CONNECTIONS, "takhin-registry")
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        self._paused_until = 0.0
        self._asked_at = 0.0
        self._is_down = False
        self._compiled: dict[int, AvroSchema] = {}
        # What the registry said: subject and version, or subject and text, to id and until when that is fresh.
        self._ids: dict[tuple[str, int | str | None], tuple[int, float]] = {}

    def schema(self, schema_id: int) -> AvroSchema:
        known = self._compiled.get(schema_id)
        if known is None:
            found = self._ask(lambda: self._client.get_schema(schema_id))
            if found is None or found.schema_str is None:
                raise SchemaNotFound(f"there is no schema with id {schema_id}")
            named = self._named_types(found)
            known = self._compiled[schema_id] = compile_schema(schema_id, found.schema_str, named)
        return known

    def id_of(self, subject: str, version: int | None) -> int | None:
        def ask() -> Any:
            if version is None:
                return self._client.get_latest_version(subject)
            return self._client.get_version(subject, version)

        return self._remembered((subject, version), ask, LATEST_SECONDS if version is None else float("inf"))

    def id_of_text(self, subject: str, text: str, register_by: str | None) -> int | None:
        schema = Schema(text, "AVRO")

        def ask() -> Any:
            if register_by is not None:
                return self._client.register_schema_full_response(subject, schema)
            return self._client.lookup_schema(subject, schema)

        return self._remembered((subject, text), ask, float("inf"))

    def subjects_of(self, schema_id: int) -> frozenset[str]:
        found = self._ask(lambda: self._client.get_subjects_by_schema_id(schema_id, deleted=True))
        return frozenset(found or ())

    def check(self) -> None:
        """By its last answer, so that a probe never waits; asks it in the background when that is a while ago."""
        now = time.monotonic()
        if now - self._asked_at > CHECK_SECONDS and now >= self._paused_until:
            self._asked_at = now
            threading.Thread(target=self._probe, name="takhin-registry-probe", daemon=True).start()
        if self._is_down:
            raise RegistryUnavailable("the schema registry does not answer")

    def _probe(self) -> None:
        try:
            self._ask(self._client.get_schema_types)
        except (RegistryUnavailable, InvalidSchema):
            # `_ask` has noted and logged it.
            return

    def _remembered(self, name: tuple[str, int | str | None], ask: Callable[[], Any], seconds: float) -> int | None:
        """The id for a name: the remembered one while it is fresh, and also while the registry is down."""
        known = self._ids.get(name)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        try:
            found = self._ask(ask)
        except RegistryUnavailable:
            if known is None:
                raise
            return known[0]
        if found is None:
            self._ids.pop(name, None)
            return None
        if len(self._ids) >= MOST_REMEMBERED:
            self._ids.clear()
        self._ids[name] = (found.schema_id, time.monotonic() + seconds)
        return int(found.schema_id)

    def _named_types(self, schema: Schema) -> dict[str, object]:
        """The full schema of every type that is reached by references, by name."""
        named: dict[str, object] = {}
        for reference in schema.references or []:
            subject, version = reference.subject, reference.version
            found = self._ask(partial(self._client.get_version, str(subject), int(version or 0)))
            if found is None:
                raise SchemaNotFound(f"there is no version {version} of the referenced subject {subject!r}")
            named |= self._named_types(found.schema)
            named[str(reference.name)] = msgspec.json.decode(found.schema.schema_str or "null")
        return named

    def _ask(self, call: Callable[[], T]) -> T | None:
        """The registry's answer, None for its 404. Raises RegistryUnavailable, InvalidSchema."""
        if time.monotonic() < self._paused_until:
            raise RegistryUnavailable("the schema registry did not answer a moment ago")
        if not self._free.acquire(blocking=False):
            raise RegistryUnavailable("too many requests wait for the schema registry")
        future = self._pool.submit(call)
        future.add_done_callback(lambda _: self._free.release())
        self._asked_at = time.monotonic()
        try:
            found = future.result(TOTAL_SECONDS)
            self._is_down = False
            return found
        except SchemaRegistryError as error:
            self._judge(error)
            return None
        except (httpx.HTTPError, concurrent.futures.TimeoutError, OSError, ValueError) as error:
            raise self._unavailable(f"{type(error).__name__}: {error}") from error

    def _judge(self, error: SchemaRegistryError) -> None:
        """Return for a 404. Raises InvalidSchema, RegistryUnavailable."""
        status = error.http_status_code
        if status in (404, 409, 422):
            self._is_down = False
        if status == 404:
            return
        if status in (409, 422):
            raise InvalidSchema(str(error.error_message)) from error
        # What is left is not the client's fault: our credentials, or the registry itself.
        raise self._unavailable(f"{status}: {error.error_message}") from error

    def _unavailable(self, reason: str) -> RegistryUnavailable:
        self._paused_until = time.monotonic() + PAUSE_SECONDS
        self._is_down = True
        log.warning("schema registry unavailable", reason=reason)
        return RegistryUnavailable("the schema registry does not answer")


def _configuration() -> dict[str, Any]:
    configuration: dict[str, Any] = {
        "url": settings.SCHEMA_REGISTRY_URL,
        "timeout": httpx.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS),
        "max.retries": 0,
        # The client alone would keep a latest version for ever; `_remembered` keeps it, and goes on when it must.
        "cache.latest.ttl.sec": 0.1,
    }
    if settings.SCHEMA_REGISTRY_AUTH:
        configuration["basic.auth.user.info"] = settings.SCHEMA_REGISTRY_AUTH
    if settings.SCHEMA_REGISTRY_CA:
        configuration["ssl.ca.location"] = settings.SCHEMA_REGISTRY_CA
    return configuration
