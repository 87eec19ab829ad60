"""Sign in to the admin at an OpenID provider, whose claims say which roles a user has."""

import itertools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import structlog
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import login
from django.contrib.auth.models import Group, User
from django.core import signing
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.crypto import constant_time_compare
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from core import audit
from core.database import transactions
from core.errors import StorageError
from takhin_site import env, logins, provider
from takhin_site.models import SingleSignOn

log = structlog.get_logger("takhin.login")
# What the callback needs is kept in a signed cookie, so that visitors without an account store nothing here.
COOKIE = "takhin_sign_on"
COOKIE_SECONDS = 600
BACKEND = "django.contrib.auth.backends.ModelBackend"
NOT_IN_USERNAMES = re.compile(r"[^\w.@+-]")


class Refused(Exception):
    """Why somebody cannot sign in, for them to read."""

    def __init__(self, status: int, reason: str, name: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.name = name


class Begun(NamedTuple):
    state: str
    nonce: str
    code_verifier: str
    next: str


@require_GET
@never_cache
def start(request: HttpRequest) -> HttpResponse:
    """Redirect to the provider."""
    try:
        begun = _asked(provider.begin, _callback(request))
    except Refused as refused:
        return _refuse(request, refused)
    kept = Begun(begun["state"], begun["nonce"], begun["code_verifier"], _next(request))
    response = HttpResponseRedirect(begun["url"])
    response.set_cookie(
        COOKIE,
        signing.dumps(kept, salt=COOKIE),
        max_age=COOKIE_SECONDS,
        path=reverse("single_sign_on"),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
    return response


@require_GET
@never_cache
def callback(request: HttpRequest) -> HttpResponse:
    """Sign in whom the provider names."""
    try:
        begun = _begun(request)
        code = _code(request)
        claims = _asked(provider.finish, _callback(request), code, begun.code_verifier, begun.nonce)
        user = _user(claims)
    except Refused as refused:
        response = _refuse(request, refused)
    else:
        login(request, user, BACKEND)
        response = HttpResponseRedirect(begun.next)
    if response.status_code != 503:
        # After a 503, the page can be reloaded.
        response.delete_cookie(COOKIE, path=reverse("single_sign_on"))
    return response


def _begun(request: HttpRequest) -> Begun:
    try:
        begun = Begun(*signing.loads(request.COOKIES.get(COOKIE, ""), salt=COOKIE, max_age=COOKIE_SECONDS))
    except signing.BadSignature:
        raise Refused(400, "This browser has not begun to sign in, or that was more than ten minutes ago.") from None
    if not constant_time_compare(request.GET.get("state", ""), begun.state):
        raise Refused(400, "This response belongs to another attempt to sign in.")
    return begun


def _code(request: HttpRequest) -> str:
    if error := request.GET.get("error"):
        reason = request.GET.get("error_description") or error
        raise Refused(403, f"The provider did not sign you in: {reason[: provider.MOST_OF_ERROR]}")
    if not (code := request.GET.get("code", "")):
        raise Refused(400, "The provider's response has no code.")
    return code


def _asked(ask: Callable[..., dict[str, Any]], *arguments: str) -> dict[str, Any]:
    """Ask the provider. Raises Refused."""
    try:
        return ask(*arguments)
    except provider.ProviderBusy:
        raise Refused(503, "The provider does not respond to others right now. Try again in a moment.") from None
    except provider.ProviderRejected as error:
        raise Refused(403, f"The provider {settings.TAKHIN_OIDC_ISSUER} rejects this: {error}") from error
    except provider.ProviderFailed as error:
        log.warning("single_sign_on_failed", issuer=settings.TAKHIN_OIDC_ISSUER, error=str(error))
        raise Refused(502, f"The provider {settings.TAKHIN_OIDC_ISSUER} has failed: {error}") from error


def _user(claims: dict[str, Any]) -> User:
    """Return the user of these claims, whose roles are set to those of the claims. Raises Refused."""
    name = str(claims.get("preferred_username") or claims.get("email") or claims["sub"])[:150]
    roles = _roles(claims)
    try:
        user, is_changed = _saved(claims, name, roles)
    except StorageError as error:
        raise Refused(503, f"{str(error).capitalize()}. Try again in a moment.") from error
    if user is not None and is_changed:
        audit.note("roles_assigned", "user", user.get_username(), by=audit.SYSTEM, roles=sorted(roles))
    if user is None or not roles:
        claim = settings.TAKHIN_OIDC_ROLES_CLAIM
        reason = f"{name} has no role here: TAKHIN_OIDC_ROLES maps nothing that is in the claim {claim}."
        raise Refused(403, reason, name)
    if not user.is_active:
        raise Refused(403, f"The user {user.get_username()} is deactivated here.", user.get_username())
    return user


def _saved(claims: dict[str, Any], name: str, roles: set[str]) -> tuple[User | None, bool]:
    try:
        return transactions.commit(lambda: _save(claims, name, roles))
    except IntegrityError:
        # The same person has signed in for the first time twice at once.
        return transactions.commit(lambda: _save(claims, name, roles))


def _roles(claims: dict[str, Any]) -> set[str]:
    """Return the roles of whoever has these claims. The claim's name may be a path, as in `realm_access.roles`."""
    found: Any = claims
    if (path := settings.TAKHIN_OIDC_ROLES_CLAIM) in claims:
        found = claims[path]
    else:
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
    values = found if isinstance(found, list) else [found]
    roles: dict[str, str] = settings.TAKHIN_OIDC_ROLES
    return {roles[value] for value in values if isinstance(value, str) and value in roles}


def _save(claims: dict[str, Any], name: str, roles: set[str]) -> tuple[User | None, bool]:
    """Return the user, and whether their roles have changed. Somebody new without a role does not become a user."""
    place = {"issuer": claims["iss"], "subject": claims["sub"]}
    known = SingleSignOn.objects.select_related("user").filter(**place).first()
    if known is None and not roles:
        return None, False
    user = _new_user(name) if known is None else known.user
    if known is None:
        SingleSignOn.objects.create(user=user, **place)
    # Also those that are no longer mapped.
    before = set(user.groups.filter(name__in=env.ROLES).values_list("name", flat=True))
    if before != roles:
        user.groups.remove(*Group.objects.filter(name__in=before - roles))
        user.groups.add(*Group.objects.filter(name__in=roles - before))
    return user, before != roles


def _new_user(name: str) -> User:
    """Create a user of this name, or one like it if that is taken: an existing user may be somebody else."""
    base = NOT_IN_USERNAMES.sub("_", name)[:140] or "user"
    alike = User.objects.filter(username__istartswith=base).values_list("username", flat=True)
    taken = {username.lower() for username in alike}
    names = (base if number == 1 else f"{base}-{number}" for number in itertools.count(1))
    user = User(username=next(name for name in names if name.lower() not in taken), is_staff=True)
    user.set_unusable_password()
    user.save()
    return user


def _refuse(request: HttpRequest, refused: Refused) -> HttpResponse:
    if refused.status < 500:
        logins.note_refusal(request, refused.name, reason=str(refused))
    context = {**admin.site.each_context(request), "title": "Not signed in", "reason": str(refused)}
    response = TemplateResponse(request, "admin/not_signed_in.html", context, status=refused.status)
    if refused.status == 503:
        response.headers["Retry-After"] = str(provider.TIMEOUT_SECONDS)
    return response


def _callback(request: HttpRequest) -> str:
    return request.build_absolute_uri(reverse("single_sign_on_callback"))


def _next(request: HttpRequest) -> str:
    address = request.GET.get("next", "")
    is_safe = url_has_allowed_host_and_scheme(address, {request.get_host()}, require_https=request.is_secure())
    return address if is_safe and len(address) < 1000 else reverse("admin:index")
