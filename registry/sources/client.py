"""A client for Confluent-compatible registries. Responses are bounded in size and time, and validated.

https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

import ssl
import time
from typing import Annotated, TypeVar
from urllib.parse import quote

import httpx2 as httpx
import msgspec
from django.conf import settings

from registry.schemas import MAX_TEXT_CHARACTERS

CONNECT_SECONDS = 2.0
TOTAL_SECONDS = 5.0
# A schema's text is a JSON string in the response, with its quotes escaped, next to its references.
MOST_BYTES = 2 * MAX_TEXT_CHARACTERS
MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
# Statuses that a client can cause. Any other status is between this server and the registry.
FAULTS = (400, 409, 413, 422)

T = TypeVar("T")
SchemaId = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class Trouble(Exception):
    """The registry is unavailable now."""


class Refused(Exception):
    """The registry responds, but rejects this server or returns an invalid response."""


class Fault(Exception):
    """The requested schema cannot be used, now or later."""


class Reference(msgspec.Struct, frozen=True):
    subject: str
    version: int


class Held(msgspec.Struct, frozen=True):
    """A schema as the registry returns it. Avro schemas have no type."""

    schema: str = ""
    schemaType: str | None = None
    references: list[Reference] | None = None


class HeldVersion(Held, frozen=True, kw_only=True):
    id: SchemaId


class Registered(msgspec.Struct, frozen=True):
    id: SchemaId


class RegistryClient:
    """A thread-safe client. Every method may raise Trouble, Refused, Fault."""

    def __init__(self) -> None:
        # Several URLs are the same registry: if one cannot be reached, the client tries the next.
        self._urls = [url.strip().rstrip("/") for url in settings.SCHEMA_REGISTRY_URL.split(",")]
        user, _, password = settings.SCHEMA_REGISTRY_AUTH.partition(":")
        authority = settings.SCHEMA_REGISTRY_CA
        self._http = httpx.Client(
            auth=(user, password) if user else None,
            verify=ssl.create_default_context(cafile=authority) if authority else True,
            timeout=httpx.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS),
            # A small compressed response could decompress to a large one.
            headers={"Accept": f"{MEDIA_TYPE}, application/json", "Accept-Encoding": "identity"},
        )

    def by_id(self, schema_id: int) -> Held | None:
        return self._get(f"/schemas/ids/{schema_id}", Held)

    def version(self, subject: str, version: int | None, *, deleted: bool = False) -> HeldVersion | None:
        path = f"/subjects/{_quoted(subject)}/versions/{'latest' if version is None else version}"
        return self._get(f"{path}?deleted=true" if deleted else path, HeldVersion)

    def lookup(self, subject: str, text: str) -> int | None:
        found = self._post(f"/subjects/{_quoted(subject)}", text)
        return None if found is None else found.id

    def register(self, subject: str, text: str) -> int:
        made = self._post(f"/subjects/{_quoted(subject)}/versions", text)
        if made is None:
            raise Refused("the schema registry returned 404 when registering a schema")
        return made.id

    def subjects(self, schema_id: int) -> list[str]:
        """Return the subjects that have or had this schema; none for an unknown schema."""
        return self._get(f"/schemas/ids/{schema_id}/subjects?deleted=true", list[str]) or []

    def types(self) -> None:
        """Make a cheap request, to see whether the registry responds."""
        self._get("/schemas/types", list[str])

    def _get(self, path: str, kind: type[T]) -> T | None:
        return self._answer("GET", path, None, kind)

    def _post(self, path: str, text: str) -> Registered | None:
        body = msgspec.json.encode({"schema": text, "schemaType": "AVRO"})
        return self._answer("POST", path, body, Registered)

    def _answer(self, method: str, path: str, body: bytes | None, kind: type[T]) -> T | None:
        """Return the response as `kind`, or None for a 404."""
        status, data = self._send(method, path, body)
        if status == 404:
            return None
        if status in FAULTS:
            raise Fault(_message(data) or f"the schema registry returned {status}")
        if status >= 500 or status == 429:
            raise Trouble(f"{status}: {_message(data)}")
        if status != 200:
            raise Refused(f"the schema registry returned {status} for {method}: {_message(data)}")
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise Refused(f"the schema registry returned an invalid response: {error}") from None

    def _send(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        for url in self._urls[:-1]:
            try:
                return self._send_to(url, method, path, body)
            except httpx.ConnectError:
                continue
        try:
            return self._send_to(self._urls[-1], method, path, body)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Trouble(f"{type(error).__name__}: {error}") from error

    def _send_to(self, url: str, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        until = time.monotonic() + TOTAL_SECONDS
        headers = {} if body is None else {"Content-Type": MEDIA_TYPE}
        data = bytearray()
        with self._http.stream(method, url + path, content=body, headers=headers) as response:
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise Refused("the schema registry compressed a response that was requested uncompressed")
            for part in response.iter_raw():
                data += part
                if len(data) > MOST_BYTES:
                    raise Fault(f"the schema registry's response has more than {MOST_BYTES} bytes")
                if time.monotonic() > until:
                    raise Trouble(f"a response took more than {TOTAL_SECONDS} seconds")
        return response.status_code, bytes(data)


def _quoted(subject: str) -> str:
    return quote(subject, safe="")


class _Problem(msgspec.Struct):
    message: str = ""


def _message(data: bytes) -> str:
    """Return an error response's message, or an empty string if it does not follow the registry's protocol."""
    try:
        return msgspec.json.decode(data, type=_Problem).message[:500]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return ""
