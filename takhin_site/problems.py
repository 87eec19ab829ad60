"""Map every exception to an HTTP status and a problem response. Django REST framework's exception handler."""

from typing import Any

import structlog
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from rest_framework import exceptions as drf
from rest_framework.request import Request
from rest_framework.response import Response

from core import errors as storage_errors
from core.api import errors as request_errors
from core.api.problems import respond
from core.api.serializers import InvalidParameters
from core.database import driver_errors
from producer import errors
from registry import errors as registry_errors
from topics.log import errors as log_errors

log = structlog.get_logger("takhin.api")

STATUSES: dict[type[Exception], int] = {
    request_errors.RequestError: 400,
    request_errors.BodyTooLarge: 413,
    errors.TooManyRecords: 413,
    errors.TooManyTopics: 413,
    request_errors.UnsupportedContentEncoding: 415,
    request_errors.UnsupportedContentType: 415,
    errors.RequestNotFound: 404,
    errors.IdempotencyKeyReused: 422,
    errors.IdempotencyKeyInUse: 409,
    errors.QuotaExceeded: 429,
    errors.Overloaded: 503,
    registry_errors.InvalidSchema: 400,
    registry_errors.SchemaNotFound: 404,
    errors.RegistrationForbidden: 403,
    registry_errors.SubjectNotAllowed: 403,
    registry_errors.RegistryUnavailable: 503,
    log_errors.TopicNotFound: 404,
    log_errors.ReservedTopic: 403,
    log_errors.TopicExists: 409,
    log_errors.InvalidTopic: 400,
    log_errors.UnknownPartition: 404,
    log_errors.OffsetOutOfRange: 410,
    # The storage is at fault, not the request, and a retry will not help.
    log_errors.CorruptRecord: 502,
    log_errors.LogRefused: 502,
    storage_errors.StorageUnavailable: 503,
    log_errors.DeliveryFailed: 502,
    log_errors.NotAttempted: 422,
    storage_errors.OutcomeUnknown: 504,
}


def status_of(error: Exception) -> int | None:
    """Return the status of the error's nearest class in the table, or None for an unexpected error."""
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return None


def answer(error: Exception, context: dict[str, Any]) -> Response:
    """Turn any exception into a problem response, never a traceback. Django REST framework's exception handler."""
    request: Request = context["request"]
    http_request = request._request
    if driver_errors.is_unavailable(error):
        error = driver_errors.translate(error)
    status = status_of(error)
    if status is not None:
        code = getattr(error, "code", "invalid_request")
        title = getattr(error, "title", code.replace("_", " "))
        # Most errors that may pass have a status that says so.
        is_retriable = getattr(error, "retriable", False)
        retry = {"Retry-After": "1"} if is_retriable else {}
        headers = {**retry, **getattr(error, "headers", {})}
        response = respond(http_request, status, code, title, str(error), **headers)
        response.data["retriable"] |= is_retriable
        response.data |= getattr(error, "members", {})
        return response
    if isinstance(error, Http404):
        error = drf.NotFound()
    if isinstance(error, PermissionDenied):
        error = drf.PermissionDenied()
    if isinstance(error, drf.APIException):
        return _from_drf(http_request, error)
    log.exception("unexpected_error")
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
