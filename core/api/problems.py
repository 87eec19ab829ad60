"""Write problem responses.

Problems are RFC 9457 `application/problem+json`, with `error` (the short text that API clients know), `code`
(a stable slug) and `retriable`.
"""

import http
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.response import Response

from core.facts import facts_of

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER = {408: "1", 429: "1", 503: "1"}


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
    facts = facts_of(request)
    facts.code, facts.detail = code, detail or error
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


@csrf_exempt
def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Respond to any path under /api that is not an endpoint."""
    return plain(request, 404, "not_found", "not found", f"no such endpoint: {request.path}")


def plain(request: HttpRequest, status: int, code: str, error: str, detail: str) -> HttpResponse:
    """Return a problem response from outside Django REST framework's views."""
    body = msgspec.json.encode(problem(request, status, code, error, detail))
    return HttpResponse(body, status=status, content_type=CONTENT_TYPE, reason=http.HTTPStatus(status).phrase)
