"""Ask a Confluent-compatible registry over HTTP; an answer is bounded in bytes and time, and judged before it is used.

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
# A schema's text is a JSON string in the answer: its quotes are escaped, and beside it stand its references.
MOST_BYTES = 2 * MAX_TEXT_CHARACTERS
MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
# What a client can be at fault for; anything else is between this server and the registry.
FAULTS = (400, 409, 413, 422)

T = TypeVar("T")
SchemaId = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class Trouble(Exception):
    """The registry cannot be used now."""


class Refused(Exception):
    """The registry does not let this server do that, or answers what no registry does; it can be reached."""


class Fault(Exception):
    """What was asked for cannot be used, now or later."""


class Reference(msgspec.Struct, frozen=True):
    subject: str
    version: int


class Held(msgspec.Struct, frozen=True):
    """A schema as the registry holds it; Avro's have no type."""

    schema: str = ""
    schemaType: str | None = None
    references: list[Reference] | None = None


class HeldVersion(Held, frozen=True, kw_only=True):
    id: SchemaId


class Registered(msgspec.Struct, frozen=True):
    id: SchemaId


class RegistryClient:
    """Every method may raise Trouble, Refused, Fault. Threads share it."""

    def __init__(self) -> None:
        # Several addresses are one registry: the next is asked where the first cannot be reached.
        self._urls = [url.strip().rstrip("/") for url in settings.SCHEMA_REGISTRY_URL.split(",")]
        user, _, password = settings.SCHEMA_REGISTRY_AUTH.partition(":")
        authority = settings.SCHEMA_REGISTRY_CA
        self._http = httpx.Client(
            auth=(user, password) if user else None,
            verify=ssl.create_default_context(cafile=authority) if authority else True,
            timeout=httpx.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS),
            # Compressed, a small answer may be large.
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
        """Those that have or had this schema; none for an unknown one."""
        return self._get(f"/schemas/ids/{schema_id}/subjects?deleted=true", list[str]) or []

    def types(self) -> None:
        """Ask for anything at all."""
        self._get("/schemas/types", list[str])

    def _get(self, path: str, kind: type[T]) -> T | None:
        return self._answer("GET", path, None, kind)

    def _post(self, path: str, text: str) -> Registered | None:
        body = msgspec.json.encode({"schema": text, "schemaType": "AVRO"})
        return self._answer("POST", path, body, Registered)

    def _answer(self, method: str, path: str, body: bytes | None, kind: type[T]) -> T | None:
        """The answer as `kind`; None for a 404."""
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
    """What an error says of itself; empty where it does not speak the registry's protocol."""
    try:
        return msgspec.json.decode(data, type=_Problem).message[:500]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return ""
