"""Confluent's registry protocol over HTTP: request parsing, responses and errors.

https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

import re
from typing import Any, TypeVar

import msgspec
import structlog
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions as drf
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from core import json_text
from core.api import bodies
from core.api.errors import (
    BodyTooLarge,
    InvalidBody,
    InvalidParameter,
    RequestError,
    UnsupportedContentEncoding,
    UnsupportedContentType,
)
from core.database import driver_errors
from core.errors import OutcomeUnknown, StorageUnavailable
from core.facts import facts_of
from core.nesting import is_deeper
from registry import errors, external, subjects
from registry.access import Access
from registry.values import Reference

T = TypeVar("T")
log = structlog.get_logger("takhin.registry")
MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
ACCEPTED = {MEDIA_TYPE, "application/vnd.schemaregistry+json", "application/json", "application/*", "*/*"}
CONTENT_TYPES = {
    "",
    "application/octet-stream",
    MEDIA_TYPE,
    "application/vnd.schemaregistry+json",
    "application/json",
    "text/json",
    "text/plain",
    # The default type of curl -d.
    "application/x-www-form-urlencoded",
}
STORE_ERROR = 50001
# The `error_code` of the errors that every API shares, which is also the status.
ERROR_CODES: dict[type[RequestError], int] = {
    BodyTooLarge: 413,
    InvalidBody: 422,
    InvalidParameter: 400,
    UnsupportedContentEncoding: 415,
    UnsupportedContentType: 415,
}
# Any 64-bit integer, and never more digits than Python converts to an integer.
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,19}")
BOOLEANS = {"true": True, "false": False}
_anything = msgspec.json.Decoder()


class SchemaBody(msgspec.Struct, frozen=True):
    """A schema in a request. Unknown fields are ignored, as Confluent's clients expect.

    `metadata` and `ruleSet`, which describe records and would be lost, and the tags, which would change the schema, are
    declared so that they can be rejected. `id` and `version` are for importing schemas from another registry.
    """

    schema: str
    schemaType: str | None = None
    references: list[Reference] | None = None
    metadata: Any = None
    ruleSet: Any = None
    schemaTagsToAdd: Any = None
    schemaTagsToRemove: Any = None
    id: int | None = None
    version: int | None = None


class RegistryParser(BaseParser):
    """Return the body's bytes; `decode_body` parses them."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        request: HttpRequest = parser_context["request"]._request
        media = request.META.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
        if media not in CONTENT_TYPES:
            raise UnsupportedContentType(media, ", ".join(sorted(CONTENT_TYPES - {""})))
        return {"body": bodies.read(request).data}


class RegistryRenderer(BaseRenderer):
    media_type = MEDIA_TYPE
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return msgspec.json.encode(data)


class Negotiation(BaseContentNegotiation):
    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        accepted = [
            part.partition(";")[0].strip().lower() for part in request.META.get("HTTP_ACCEPT", "*/*").split(",")
        ]
        if not ACCEPTED & set(accepted):
            raise drf.NotAcceptable
        return renderers[0], MEDIA_TYPE


class RegistryViewSet(ViewSet):
    """Base class of the registry's views. `scopes` maps each action to the API key scope it requires.

    The key's topics limit which subject the URL may name; views check everything else with `access`.
    """

    parser_classes = (RegistryParser,)
    renderer_classes = (RegistryRenderer,)
    content_negotiation_class = Negotiation
    schema = None
    access: Access

    def get_exception_handler(self) -> Any:
        return answer

    def check_permissions(self, request: Request) -> None:
        external.check_built_in()
        super().check_permissions(request)
        # Every authentication object of the site knows which subjects it allows.
        self.access = Access(request.auth)  # type: ignore[arg-type]
        if (subject := self.kwargs.get("subject")) is not None:
            subjects.check(subject)
            self.access.check_subject(subject)


def answer(error: Exception, context: dict[str, Any]) -> Response:
    """Turn any exception into `error_code` and `message`. Client errors are never 5xx, because clients retry those."""
    response = _answer(error)
    facts = facts_of(context["request"]._request)
    facts.code, facts.detail = str(response.data["error_code"]), response.data["message"]
    return response


def _answer(error: Exception) -> Response:
    if isinstance(error, errors.RegistryError):
        code = error.error_code
        return problem(code if code < 1000 else code // 100, code, str(error))
    if isinstance(error, RequestError):
        code = ERROR_CODES[type(error)]
        return problem(code, code, str(error))
    if driver_errors.is_unavailable(error):
        error = driver_errors.translate(error)
    if isinstance(error, (StorageUnavailable, OutcomeUnknown)):
        return problem(503, STORE_ERROR, f"Error in the backend data store: {error}", {"Retry-After": "1"})
    if isinstance(error, Http404):
        error = drf.NotFound()
    if isinstance(error, drf.APIException):
        challenge = getattr(error, "auth_header", None)
        headers = {"WWW-Authenticate": challenge} if challenge else {}
        if (seconds := getattr(error, "wait", None)) is not None:
            headers["Retry-After"] = str(int(seconds) + 1)
        return problem(error.status_code, error.status_code, str(error.detail), headers)
    log.exception("unexpected_error")
    return problem(500, STORE_ERROR, "Internal error; see the server log for this X-Request-Id")


def problem(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return Response({"error_code": code, "message": message}, status, headers=headers, content_type=MEDIA_TYPE)


@csrf_exempt
def not_found(request: HttpRequest, **_: str) -> HttpResponse:
    """Answer any other URL under the registry."""
    body = msgspec.json.encode({"error_code": 404, "message": "HTTP 404 Not Found"})
    return HttpResponse(body, status=404, content_type=MEDIA_TYPE)


def decode_body(request: Request, kind: type[T]) -> T:
    """Parse the body into a struct. Raises InvalidBody."""
    # REST framework does not call the parser for an empty body.
    parsed: Any = request.data
    data = parsed.get("body", b"") or b"{}"
    try:
        if is_deeper(data, settings.TAKHIN_MAX_NESTING):
            raise json_text.InvalidJson(f"nested deeper than {settings.TAKHIN_MAX_NESTING} levels")
        json_text.decode(_anything, data)
        return json_text.parse(msgspec.json.Decoder(kind), data)
    except json_text.InvalidJson as error:
        raise InvalidBody(f"invalid request body: {error}") from None


def flag(request: Request, name: str) -> bool:
    """Parse a boolean parameter, ignoring case: Python clients send `True`. Raises InvalidParameter."""
    value = request.query_params.get(name, "").lower()
    if value and value not in BOOLEANS:
        raise InvalidParameter(f"{name} must be true or false, got {value[:40]!r}")
    return BOOLEANS.get(value, False)


def page(request: Request, found: list[T]) -> list[T]:
    """Apply the `offset` and `limit` parameters; a negative limit means no limit. Raises InvalidParameter."""
    offset, limit = (request.query_params.get(name, default) for name, default in (("offset", "0"), ("limit", "-1")))
    if not WHOLE_NUMBER.fullmatch(offset) or not WHOLE_NUMBER.fullmatch(limit):
        raise InvalidParameter("offset and limit must be whole numbers")
    return found[max(0, int(offset)) :][: None if int(limit) < 0 else int(limit)]


def version_number(given: str) -> int | None:
    """Parse a version from the URL; None means `latest`. Raises InvalidVersion."""
    if given in ("latest", "-1"):
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 10 or not 1 <= int(given) < 2**31:
        raise errors.InvalidVersion(given[:100])
    return int(given)


def schema_id(given: str) -> int:
    """Parse a schema id from the URL. Raises Http404 if it is not a number, as Confluent does."""
    if not given.isascii() or not given.isdigit() or len(given) > 10 or int(given) >= 2**31:
        raise Http404
    return int(given)
