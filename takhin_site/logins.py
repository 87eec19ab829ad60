"""Protect the admin's login: lock users out per address, throttle addresses that guess, and log both."""

from typing import Any

import msgspec
import structlog
from axes.backends import AxesStandaloneBackend
from axes.signals import user_locked_out
from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse

from core import addresses, audit, wrong_guesses

log = structlog.get_logger("takhin.login")


class LockoutBackend(AxesStandaloneBackend):  # type: ignore[misc]
    """Reject a locked-out login before hashing its password. Commands have no request, so they are never locked out."""

    def authenticate(self, request: HttpRequest | None, *args: Any, **kwargs: Any) -> None:
        if request is not None:
            super().authenticate(request, *args, **kwargs)


def address_of(request: HttpRequest) -> str | None:
    """Return the address that lockouts count by."""
    return addresses.subscriber_of(addresses.client_of(request.META)) or None


def locked_out(request: HttpRequest, response: HttpResponse, credentials: Any) -> HttpResponse:
    """Return the login page with status 429."""
    response.status_code = 429
    response.headers["Retry-After"] = str(int(settings.AXES_COOLOFF_TIME.total_seconds()))
    return response


@receiver(user_login_failed)
def note_failure(credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """Log and count a failed login. A locked-out user's attempts count too: they are cheap, but not free."""
    if request is not None:
        note_refusal(request, str(credentials.get("username")))


def note_refusal(request: HttpRequest, name: str, **details: str) -> None:
    """Log and count a failed login by this name."""
    audit.note("login_failed", "user", name, by=_visitor(request), outcome="refused", **details)
    client = addresses.client_of(request.META)
    if wrong_guesses.logins.count(addresses.subscriber_of(client)):
        log.warning("login_throttled", client=client)


@receiver(user_locked_out)
def note_lockout(request: HttpRequest, username: str, **_: Any) -> None:
    audit.note("login_locked_out", "user", username, by=_visitor(request), outcome="refused")


def _visitor(request: HttpRequest) -> audit.Actor:
    return audit.Actor("anonymous", addresses.client_of(request.META), request.META.get("HTTP_X_REQUEST_ID", ""))


@receiver(user_logged_in)
def note_login(request: HttpRequest, user: Any, **_: Any) -> None:
    by = msgspec.structs.replace(_visitor(request), name=f"user {user.get_username()}")
    audit.note("logged_in", "user", user.get_username(), by=by)
