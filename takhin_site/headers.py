"""The headers of every response, and what each kind of page may load and do in a browser."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse

EVERY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # The admin needs the referrer to check where a form comes from. Other sites get none.
    "Referrer-Policy": "same-origin",
    # Anything that is not static may contain a payload.
    "Cache-Control": "no-store",
}
# JSON, errors, redirects and static files load nothing, and may not be framed.
NO_PAGE = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
WITHOUT_PAGE = {**EVERY, "Content-Security-Policy": NO_PAGE}
_PREPARED = {name.lower(): (name, value) for name, value in WITHOUT_PAGE.items()}
_PAGE = (
    "default-src 'none'; connect-src 'self'; font-src 'self'; img-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; "
)
# unfold's Alpine compiles expressions in attributes to functions, which browsers treat as eval. Inline scripts are
# not allowed.
ADMIN = _PAGE + "script-src 'self' 'unsafe-eval'; form-action 'self'"
SWAGGER = _PAGE + "script-src 'self'; form-action 'none'"
# ReDoc searches in a worker that it creates from a string.
REDOC = _PAGE + "script-src 'self'; worker-src blob:; form-action 'none'"
PAGES = {"/admin/": ADMIN, "/swagger/": SWAGGER, "/redoc/": REDOC}


def add(request: HttpRequest, response: HttpResponse) -> None:
    """Add the headers that the response lacks. Django sets most of them on pages, not on errors and static files."""
    headers = response.headers
    if request.path_info.startswith("/api/"):
        # Where Django keeps them. Its own way checks and encodes each value, which takes longer than to parse a record.
        headers._store |= _PREPARED
    else:
        headers["Content-Security-Policy"] = policy(request.path_info)
        for name, value in EVERY.items():
            headers.setdefault(name, value)
    if settings.SECURE_HSTS_SECONDS and request.is_secure():
        headers.setdefault("Strict-Transport-Security", f"max-age={settings.SECURE_HSTS_SECONDS}")


def policy(path: str) -> str:
    return next((policy for prefix, policy in PAGES.items() if path.startswith(prefix)), NO_PAGE)
