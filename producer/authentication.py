"""Authenticate requests by API key and check permissions, without a query per request."""

import base64
import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from core import addresses, wrong_guesses
from core.database import transactions
from core.errors import StorageError
from producer.models import ApiKey, digest_of

if TYPE_CHECKING:
    # rest_framework.views imports this module by its dotted path.
    from rest_framework.views import APIView

# A revoked key stops working within this time. The documentation promises 10 s.
CACHE_SECONDS = 5.0
# Bounds the memory that a client guessing keys can use.
CACHE_SIZE = 10_000
LAST_USED_STEP = timedelta(minutes=1)

# A key's prefix identifies it in lists and logs. Anything else may be another kind of secret.
NAMED = re.compile(r"tk_[0-9a-f]{8}(?=_)")

log = structlog.get_logger("takhin.keys")
_cache: dict[str, tuple[float, ApiKey | None]] = {}


class TooManyWrongKeys(exceptions.APIException):
    """`wait` is in seconds."""

    status_code = 429
    default_detail = "too many wrong API keys from this address"
    default_code = "too_many_wrong_keys"

    def __init__(self, wait: float) -> None:
        super().__init__()
        self.wait = wait


class ApiKeyAuthentication(BaseAuthentication):
    """Accept `Authorization: KEY`, `Bearer KEY`, `Api-Key KEY`, Basic with the key as password, or `X-API-Key: KEY`.

    It does nothing if the server requires no keys.
    """

    def authenticate(self, request: Request) -> tuple[None, ApiKey] | None:
        if not settings.TAKHIN_REQUIRE_API_KEY:
            _refuse_foreign_page(request)
            return None
        secret = _secret(request.META)
        if not secret:
            raise exceptions.AuthenticationFailed("missing authorization header", "missing_authorization")
        client = addresses.client_of(request.META)
        key = _find(secret, addresses.subscriber_of(client))
        if key is None:
            _note_wrong(secret, client)
            raise exceptions.AuthenticationFailed("invalid API key", "invalid_api_key")
        request.META["takhin.key"] = key.prefix
        return None, key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="takhin"'


def _refuse_foreign_page(request: Request) -> None:
    """Reject pages of other origins, which could otherwise write to a server without keys by posting a form."""
    origin = request.META.get("HTTP_ORIGIN")
    if origin is None or settings.CORS_ALLOW_ALL_ORIGINS or origin in settings.CORS_ALLOWED_ORIGINS:
        return
    if origin != f"{request._request.scheme}://{request._request.get_host()}":
        raise exceptions.PermissionDenied(
            f"pages from {origin[:100]} may not call a server without API keys (TAKHIN_CORS_ORIGINS)", "foreign_origin"
        )


def key_of(request: Request) -> ApiKey | None:
    """Return the request's API key, or None if the server requires none."""
    key: Any = request.auth
    return key if isinstance(key, ApiKey) else None


def _secret(meta: dict[str, Any]) -> str:
    header = meta.get("HTTP_AUTHORIZATION", "").strip()
    scheme, _, rest = header.partition(" ")
    if scheme.lower() in ("bearer", "api-key"):
        return str(rest).strip()
    if scheme.lower() == "basic":
        return _password(rest.strip())
    return str(header or meta.get("HTTP_X_API_KEY", "").strip())


def _password(credentials: str) -> str:
    """Return the password of Basic credentials (RFC 7617), as registry clients send a key. The user is ignored."""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _find(secret: str, address: str) -> ApiKey | None:
    """Return the usable key with this secret, or None. Raises TooManyWrongKeys before any lookup.

    A key that this process has already accepted is never throttled: an attacker cannot know one, but other clients
    behind the same address can.
    """
    digest = digest_of(secret)
    until, key = _cache.get(digest, (0.0, None))
    if key is None and (seconds := wrong_guesses.keys.wait(address)):
        raise TooManyWrongKeys(seconds)
    if until <= time.monotonic():
        key = _look_up(digest, secret)
    return key if key is None or _not_expired(key) else None


def _look_up(digest: str, secret: str) -> ApiKey | None:
    with transactions.translated():
        key = ApiKey.objects.usable().filter(digest=digest).first()
    if key is not None and not key.matches(secret):
        key = None
    _make_room()
    _cache[digest] = (time.monotonic() + CACHE_SECONDS, key)
    if key is not None:
        _note_use(key)
    return key


def _make_room() -> None:
    """Evict wrong keys first."""
    if len(_cache) >= CACHE_SIZE:
        for digest in [digest for digest, (_, key) in list(_cache.items()) if key is None]:
            _cache.pop(digest, None)
    if len(_cache) >= CACHE_SIZE:
        _cache.clear()


def _note_wrong(secret: str, client: str) -> None:
    named = NAMED.match(secret)
    log.warning("api_key_rejected", client=client, key=named[0] if named else None)
    if wrong_guesses.keys.count(addresses.subscriber_of(client)):
        log.warning("api_key_throttled", client=client)


def _not_expired(key: ApiKey) -> bool:
    return key.expires_at is None or key.expires_at > timezone.now()


def _note_use(key: ApiKey) -> None:
    """Record the time of use, at most once a minute."""
    if key.last_used_at is not None and timezone.now() - key.last_used_at < LAST_USED_STEP:
        return
    try:
        transactions.commit(lambda: ApiKey.objects.filter(pk=key.pk).update(last_used_at=Now()))
    except StorageError:
        # Not worth failing the request for. The next lookup tries again.
        return


def forget() -> None:
    """Clear the cache and the counters. Tests call this between databases."""
    _cache.clear()
    wrong_guesses.forget()


class HasScope(BasePermission):
    """Check that the key has the view's scope for this action, and may use the topic in the URL."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        key = key_of(request)
        if key is None:
            return True
        scope = getattr(view, "scopes", {}).get(getattr(view, "action", None))
        if scope is not None and not key.has_scope(scope):
            raise exceptions.PermissionDenied(f"this API key lacks the scope {scope}", "missing_scope")
        topic = view.kwargs.get("topic")
        return topic is None or self.has_object_permission(request, view, topic)

    def has_object_permission(self, request: Request, view: "APIView", obj: str) -> bool:
        """`obj` is a topic's name."""
        key = key_of(request)
        if key is not None and not key.allows_topic(obj):
            raise exceptions.PermissionDenied(f"this API key may not use topic {obj}", "topic_not_allowed")
        return True
