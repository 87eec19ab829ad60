"""The WSGI application, for `manage.py serve` and gunicorn."""

import functools
import gc
import io
import os
from collections.abc import Callable, Iterable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "takhin_site.settings")

import django
from django.conf import LazySettings, settings
from django.core.cache import close_caches
from django.core.handlers.base import reset_urlconf
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connection, reset_queries
from django.http import HttpRequest, HttpResponse
from django.urls import ResolverMatch, get_resolver

django.setup(set_prefix=False)

from producer.queue import finished_elsewhere, threads

# The longest path that is remembered, which has room for the longest topic. Clients choose what they send.
MOST_REMEMBERED = 300


@functools.lru_cache(maxsize=1024)
def _resolved(path: str) -> ResolverMatch:
    return get_resolver().resolve(path)


class Handler(WSGIHandler):
    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """Look up most paths only once, because Django tries one pattern after the other."""
        path = request.path_info
        request.resolver_match = _resolved(path) if len(path) <= MOST_REMEMBERED else get_resolver().resolve(path)
        return request.resolver_match


class ApiHandler(Handler):
    """Handles requests for the API, without what Django does for pages only.

    No view of the API reverses URLs, sets cookies, or is atomic: records are written by `transactions.commit`.
    """

    _middleware_chain: Callable[[HttpRequest], HttpResponse]

    def load_middleware(self, is_async: bool = False) -> None:
        every = settings.MIDDLEWARE
        settings.MIDDLEWARE = settings.API_MIDDLEWARE
        super().load_middleware(is_async)
        settings.MIDDLEWARE = every

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> HttpResponse:
        response = self._middleware_chain(self.request_class(environ))
        # Where Django keeps them. Its own way looks up each name.
        fields = list(response.headers._store.values())
        start_response(f"{response.status_code} {response.reason_phrase}", fields)
        return response

    def make_view_atomic(self, view: Any) -> Any:
        return view


def _tidy() -> None:
    """Close this thread's connection if it failed or is not to be kept."""
    if settings.DEBUG:
        reset_queries()
    connection.close_if_unusable_or_obsolete()


# Django's own looks for methods that settings do not have. Requests read settings so often that this took 8 % of their
# time.
LazySettings.__getattribute__ = object.__getattribute__  # type: ignore[method-assign]
# To send Django's signals takes as long as a record's way to the log, and their receivers find nothing to do: `_tidy`
# looks after the connection, no cache has to be closed, and there is only one URL configuration.
request_started.disconnect(reset_queries)
request_started.disconnect(close_old_connections)
for receiver in (close_old_connections, close_caches, reset_urlconf):
    request_finished.disconnect(receiver)
handle_page, handle_api = Handler(), ApiHandler()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Call Django with a body that has a length, because Django treats others as empty (ticket 35838).

    Chunked bodies under gunicorn have none. `serve` sets the length of every body.
    """
    if environ["REQUEST_METHOD"] in ("POST", "PUT", "PATCH") and not environ.get("CONTENT_LENGTH"):
        # One byte past the limit is enough to refuse it.
        body = environ["wsgi.input"].read(settings.TAKHIN_MAX_BODY_BYTES + 1)
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
    _tidy()
    handle = handle_api if environ.get("PATH_INFO", "").startswith("/api/") else handle_page
    response = handle(environ, start_response)
    _break_cycles(response)
    # Called when it has been sent.
    response._resource_closers.append(_tidy)  # type: ignore[attr-defined]
    return response


def _break_cycles(response: Any) -> None:
    """Free a request's body with its response, by breaking Django REST framework's reference cycles.

    The garbage collector checks old objects so rarely (see below) that bodies of 10 MB would pile up to gigabytes.
    """
    if (context := getattr(response, "renderer_context", None)) is not None:
        context["request"].parser_context = None
        vars(context["view"]).clear()
        context.clear()


threads.start()
finished_elsewhere.start()
# Freeze the objects of startup and collect less often: a full collection would cost some request 23 ms.
gc.collect()
gc.freeze()
gc.set_threshold(10_000, 20, 50)
