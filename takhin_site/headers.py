"""The headers of every answer, and what each kind of page may load and do in a browser."""

from django.http import HttpResponse

EVERY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # To the admin itself, for its check of where a form comes from, and to nobody else.
    "Referrer-Policy": "same-origin",
    # What is not static may be a payload.
    "Cache-Control": "no-store",
}
# JSON, errors, redirects and static files: nothing to load, and no page to be inside of.
NO_PAGE = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
WITHOUT_PAGE = {**EVERY, "Content-Security-Policy": NO_PAGE}
_PAGE = (
    "default-src 'none'; connect-src 'self'; font-src 'self'; img-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; "
)
# unfold's Alpine makes functions of the expressions in its attributes, which is eval to a browser. No script may
# stand in a page.
ADMIN = _PAGE + "script-src 'self' 'unsafe-eval'; form-action 'self'"
SWAGGER = _PAGE + "script-src 'self'; form-action 'none'"
# ReDoc searches in a worker that it makes of a string.
REDOC = _PAGE + "script-src 'self'; worker-src blob:; form-action 'none'"
PAGES = {"/admin/": ADMIN, "/swagger/": SWAGGER, "/redoc/": REDOC}


def add(path: str, response: HttpResponse) -> None:
    """Add what the answer does not have yet; most are Django's own, which errors and static files go around."""
    headers = response.headers
    headers["Content-Security-Policy"] = NO_PAGE if path.startswith("/api/") else policy(path)
    for name, value in EVERY.items():
        headers.setdefault(name, value)


def policy(path: str) -> str:
    return next((policy for prefix, policy in PAGES.items() if path.startswith(prefix)), NO_PAGE)
