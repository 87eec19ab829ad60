"""Map exceptions to HTTP statuses, and write problem responses.

Problems are RFC 9457 `application/problem+json`, with `error` (the short text that API clients know), `code`
(a stable slug) and `retriable`.
"""

import http
from typing import Any

import msgspec
import structlog
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions as drf
from rest_framework.request import Request
from rest_framework.response import Response

from producer import errors
from topics import errors as log_errors
from topics import trouble
from topics.serializers import InvalidParameters

log = structlog.get_logger("takhin.api")
CONTENT_TYPE = "application/problem+json"
RETRY_AFTER = {408: "1", 429: "1", 503: "1"}

STATUSES: dict[type[Exception], int] = {
    errors.RequestError: 400,
    errors.BodyTooLarge: 413,
    errors.TooManyRecords: 413,
    errors.UnsupportedContentEncoding: 415,
    errors.UnsupportedContentType: 415,
    errors.RequestNotFound: 404,
    errors.SchemaNotFound: 404,
    errors.RegistrationForbidden: 403,
    errors.SubjectNotAllowed: 403,
    errors.RegistryUnavailable: 503,
    log_errors.TopicNotFound: 404,
    log_errors.ReservedTopic: 403,
    log_errors.TopicExists: 409,
    log_errors.InvalidTopic: 400,
    log_errors.UnknownPartition: 404,
    log_errors.OffsetOutOfRange: 410,
    # The storage is at fault, not the request, and a retry will not help.
    log_errors.CorruptRecord: 502,
    log_errors.LogRefused: 502,
    log_errors.LogUnavailable: 503,
    log_errors.DeliveryFailed: 502,
    log_errors.NotAttempted: 422,
    log_errors.OutcomeUnknown: 504,
}


def status_of(error: Exception) -> int | None:
    """Return the status of the error's nearest class in the table, or None for an unexpected error."""
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return None


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A problem's fields, in the order they are sent."""

    type: str
    title: str
    status: int
    detail: str
    error: str
    code: str
    retriable: bool
    instance: str


def problem(request: HttpRequest, status: int, code: str, error: str, detail: str = "") -> dict[str, Any]:
    """Return the fields of a problem response. `instance` is the X-Request-Id."""
    members: dict[str, Any] = msgspec.to_builtins(
        Problem(
            type=f"urn:takhin:problem:{code}",
            title=error[:1].upper() + error[1:],
            status=status,
            detail=detail or error,
            error=error,
            code=code,
            retriable=status in RETRY_AFTER,
            instance=request.META.get("HTTP_X_REQUEST_ID", ""),
        )
    )
    return members


def respond(request: HttpRequest, status: int, code: str, error: str, detail: str = "", **headers: str) -> Response:
    retry = {"Retry-After": RETRY_AFTER[status]} if status in RETRY_AFTER else {}
    body = problem(request, status, code, error, detail)
    return Response(body, status=status, headers={**retry, **headers}, content_type=CONTENT_TYPE)


def answer(error: Exception, context: dict[str, Any]) -> Response:
    """Turn any exception into a problem response, never a traceback. Django REST framework's exception handler."""
    request: Request = context["request"]
    http_request = request._request
    if trouble.is_trouble(error):
        error = trouble.of(error)
    status = status_of(error)
    if status is not None:
        code = getattr(error, "code", "invalid_request")
        title = getattr(error, "title", code.replace("_", " "))
        response = respond(http_request, status, code, title, str(error))
        response.data |= getattr(error, "members", {})
        return response
    if isinstance(error, Http404):
        error = drf.NotFound()
    if isinstance(error, PermissionDenied):
        error = drf.PermissionDenied()
    if isinstance(error, drf.APIException):
        return _from_drf(http_request, error)
    log.exception("unexpected error")
    return respond(http_request, 500, "internal_error", "internal error", "the error is logged under this X-Request-Id")


def _from_drf(request: HttpRequest, error: drf.APIException) -> Response:
    headers: dict[str, str] = {}
    if (auth_header := getattr(error, "auth_header", None)) is not None:
        headers["WWW-Authenticate"] = auth_header
    if (seconds := getattr(error, "wait", None)) is not None:
        headers["Retry-After"] = str(int(seconds) + 1)
    if isinstance(error, drf.ValidationError):
        if isinstance(error, InvalidParameters):
            return respond(request, 400, "invalid_parameter", "invalid query parameter", _flat(error.detail))
        return respond(request, 400, "invalid_request_body", "invalid request body", _flat(error.detail))
    status = error.status_code
    if isinstance(error, drf.MethodNotAllowed):
        return respond(request, status, "method_not_allowed", "method not allowed", str(error.detail))
    code = str(getattr(error.detail, "code", error.default_code))
    return respond(request, status, code, str(error.detail), **headers)


def _flat(detail: Any, place: str = "") -> str:
    """Flatten a serializer's nested errors into one sentence: `partitions: a valid integer is required`."""
    if isinstance(detail, dict):
        parts = (_flat(value, f"{place}.{name}" if place else str(name)) for name, value in detail.items())
        return "; ".join(parts).replace("non_field_errors: ", "")
    if isinstance(detail, list):
        return "; ".join(_flat(value, place) for value in detail)
    return f"{place}: {detail}" if place else str(detail)


@csrf_exempt
def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Respond to any path under /api that is not an endpoint."""
    return plain(request, 404, "not_found", "not found", f"no such endpoint: {request.path}")


def plain(request: HttpRequest, status: int, code: str, error: str, detail: str) -> HttpResponse:
    """Return a problem response from outside Django REST framework's views."""
    body = msgspec.json.encode(problem(request, status, code, error, detail))
    return HttpResponse(body, status=status, content_type=CONTENT_TYPE, reason=http.HTTPStatus(status).phrase)
