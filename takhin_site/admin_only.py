"""Middleware for the admin only: Django's own, and the protection of the login. The API does not need it."""

import math
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse

from core import addresses, wrong_guesses
from takhin_site import passwords

GetResponse = Callable[[HttpRequest], HttpResponse]


class AdminAddress:
    """Reject a NUL in a URL under /admin. The admin's filters would pass it to PostgreSQL, which fails on it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        path, query = request.path_info, request.META.get("QUERY_STRING", "")
        if path.startswith("/admin") and ("\0" in path or "%00" in query):
            raise BadRequest("the URL contains a null character")
        return self.get_response(request)


class AdminLogin:
    """Limit login attempts: 429 for an address that guesses, 503 while too many passwords are being hashed."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        path = request.path_info
        if (request.method == "POST" and path == settings.LOGIN_URL) or path.startswith(settings.SINGLE_SIGN_ON_URL):
            client = addresses.subscriber_of(addresses.client_of(request.META))
            seconds = wrong_guesses.logins.wait(client)
            if seconds:
                return _wait(429, seconds, "Too many failed logins from this address.")
            if passwords.is_full():
                return _busy()
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return _busy() if isinstance(error, passwords.HashingBusy) else None


def _busy() -> HttpResponse:
    return _wait(503, passwords.WAIT_SECONDS, "Too many passwords are being checked right now.")


def _wait(status: int, seconds: float, reason: str) -> HttpResponse:
    whole = math.ceil(seconds)
    text = f"{reason} Try again in {whole} seconds.\n"
    return HttpResponse(text, status=status, content_type="text/plain", headers={"Retry-After": str(whole)})


class _AdminOnly:
    """Skips the wrapped middleware outside /admin, where it would cost an API request 50 microseconds."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith("/admin/"):
            return super().__call__(request)  # type: ignore[misc, no-any-return]
        response: HttpResponse = self.get_response(request)
        return response


class AdminSession(_AdminOnly, SessionMiddleware):
    pass


class AdminAuthentication(_AdminOnly, AuthenticationMiddleware):
    pass


class AdminMessages(_AdminOnly, MessageMiddleware):
    pass
