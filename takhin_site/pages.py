"""Serve the root, the API description and error pages: JSON, except Django's own pages under /admin."""

import functools
import sys

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import loader
from django.views import defaults
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularJSONAPIView
from rest_framework.request import Request

from core.api import problems
from core.database import driver_errors
from core.errors import StorageUnavailable

# The most characters of a rejected Host that the response shows.
MOST_OF_HOST = 255


class Description(SpectacularJSONAPIView):
    """The OpenAPI description. It is public and the same for everyone, so the 50 ms to generate it are spent once."""

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(
            described(),
            content_type=OpenApiJsonRenderer.media_type,
            headers={"Content-Disposition": 'inline; filename="Takhin HTTP Producer.json"'},
        )


@functools.cache
def described() -> bytes:
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    rendered: bytes = OpenApiJsonRenderer().render(schema)
    return rendered


def root(request: HttpRequest) -> JsonResponse:
    """Return the product, version and links."""
    links = {
        "topics": "/api/topics",
        "registry": "/registry",
        "health": "/api/health",
        "metrics": "/metrics",
        "swagger": "/swagger/",
        "redoc": "/redoc/",
        "openapi": "/openapi.json",
    }
    if settings.SCHEMA_REGISTRY_URL:
        del links["registry"]
    if settings.TAKHIN_ADMIN:
        links["admin"] = "/admin/"
    return JsonResponse({"product": "Takhin HTTP Producer", "version": settings.VERSION, "links": links})


def is_admin(request: HttpRequest) -> bool:
    return bool(settings.TAKHIN_ADMIN) and request.path_info.startswith("/admin/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, DisallowedHost):
        return wrong_host(request)
    if is_admin(request):
        return defaults.bad_request(request, exception)
    return problems.plain(request, 400, "bad_request", "bad request", "the request's form is invalid")


def wrong_host(request: HttpRequest) -> HttpResponse:
    """Name the setting to change, also under /admin, where a first visit by another name or a proxy ends up."""
    host = ascii(request.META.get("HTTP_HOST", "")[:MOST_OF_HOST])
    detail = f"Host {host} is not in TAKHIN_ALLOWED_HOSTS, the names that this server responds to"
    if is_admin(request):
        return HttpResponse(detail, status=400, content_type="text/plain; charset=utf-8")
    return problems.plain(request, 400, "bad_request", "bad request", detail)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_admin(request):
        return defaults.page_not_found(request, exception)
    return problems.plain(request, 404, "not_found", "not found", f"no such endpoint: {request.path}")


# Why the server refuses a body: the status, the short text that clients know, and the detail.
REFUSALS = {
    "incomplete_body": (400, "invalid request body", "the body ended before it was complete; nothing was written"),
    "body_timeout": (
        408,
        "request body timeout",
        "the body took longer than TAKHIN_BODY_TIMEOUT, or came slower than 1 KiB/s",
    ),
    "body_too_large": (413, "request body too large", "the body exceeds {limit} bytes as sent"),
    "too_many_chunks": (
        400,
        "invalid request body",
        "the body has too many small chunks, or too much data between and after them",
    ),
    "overloaded": (503, "overloaded", "the server's memory for request bodies is full (TAKHIN_MAX_BUFFERED_BYTES)"),
}
# Django's default. The admin's largest form has a few kilobytes.
MAX_FORM_BYTES = 2_621_440


def refused(request: HttpRequest, code: str) -> HttpResponse:
    """Respond to a request without its body, in the format that clients of its URL expect."""
    status, error, detail = REFUSALS[code]
    detail = detail.format(limit=MAX_FORM_BYTES if is_admin(request) else settings.TAKHIN_MAX_BODY_BYTES)
    response: HttpResponse
    if is_admin(request):
        response = HttpResponse(f"{error}: {detail}\n", status=status, content_type="text/plain")
    elif request.path_info.startswith("/registry"):
        response = JsonResponse({"error_code": status, "message": f"{error}: {detail}"}, status=status)
    else:
        response = problems.plain(request, status, code, error, detail)
    if status in problems.RETRY_AFTER:
        response.headers["Retry-After"] = problems.RETRY_AFTER[status]
    return response


def server_error(request: HttpRequest) -> HttpResponse:
    error = sys.exc_info()[1]
    if error is not None and driver_errors.is_unavailable(error):
        return _unavailable(request, driver_errors.translate(error))
    if is_admin(request):
        return defaults.server_error(request)
    return problems.plain(
        request, 500, "internal_error", "internal error", "the error is logged under this X-Request-Id"
    )


def _unavailable(request: HttpRequest, error: StorageUnavailable) -> HttpResponse:
    """Return 503 for a database error. The admin's sessions and users are in the database too."""
    if is_admin(request):
        page = loader.render_to_string("503.html", {"reason": str(error)})
        response = HttpResponse(page, status=503)
    else:
        response = problems.plain(request, 503, error.code, error.code.replace("_", " "), str(error))
    response.headers["Retry-After"] = "1"
    return response
