"""Serve the root, and the pages for what no view answers: JSON, but Django's own under /admin."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults

from producer import exceptions


def root(request: HttpRequest) -> JsonResponse:
    """Product, version and links."""
    links = {
        "topics": "/api/topics",
        "registry": "/registry",
        "health": "/api/health",
        "swagger": "/swagger/",
        "redoc": "/redoc/",
        "openapi": "/openapi.json",
        "admin": "/admin/",
    }
    return JsonResponse({"product": "Takhin HTTP Producer", "version": settings.VERSION, "links": links})


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path_info.startswith("/admin"):
        return defaults.bad_request(request, exception)
    return exceptions.plain(request, 400, "bad_request", "bad request", "the request's Host or form is not acceptable")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path_info.startswith("/admin"):
        return defaults.page_not_found(request, exception)
    return exceptions.plain(request, 404, "not_found", "not found", f"{request.path} is no address of this server")


def server_error(request: HttpRequest) -> HttpResponse:
    if request.path_info.startswith("/admin"):
        return defaults.server_error(request)
    return exceptions.plain(
        request, 500, "internal_error", "internal error", "the error is logged under this X-Request-Id"
    )
