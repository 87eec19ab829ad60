"""The WSGI application, for `manage.py serve` and gunicorn."""

import functools
import gc
import io
import os
from collections.abc import Callable, Iterable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "takhin_site.settings")

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connection, reset_queries
from django.http import HttpRequest
from django.urls import ResolverMatch, get_resolver

django.setup(set_prefix=False)

from producer.queue import finished_elsewhere, threads

# The longest path that is remembered, which has room for the longest topic. Clients choose what they send.
MOST_REMEMBERED = 300


@functools.lru_cache(maxsize=1024)
def _resolved(path: str) -> ResolverMatch:
    return get_resolver().resolve(path)


class Handler(WSGIHandler):
    """Passes requests for the API through API_MIDDLEWARE only. The rest of the middleware is for pages."""

    _middleware_chain: Any

    def load_middleware(self, is_async: bool = False) -> None:
        every = settings.MIDDLEWARE
        settings.MIDDLEWARE = settings.API_MIDDLEWARE
        super().load_middleware(is_async)
        for_api = self._middleware_chain
        settings.MIDDLEWARE = every
        super().load_middleware(is_async)
        for_pages = self._middleware_chain
        self._middleware_chain = lambda request: (
            for_api(request) if request.path_info.startswith("/api/") else for_pages(request)
        )

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """Look up most paths only once, because Django tries one pattern after the other."""
        path = request.path_info
        request.resolver_match = _resolved(path) if len(path) <= MOST_REMEMBERED else get_resolver().resolve(path)
        return request.resolver_match


def _tidy(**_: Any) -> None:
    """Close this thread's connection if it failed or is not to be kept."""
    if settings.DEBUG:
        reset_queries()
    connection.close_if_unusable_or_obsolete()


# Django's own receivers look for connections by name, which takes as long as a record's way to the log.
request_started.disconnect(reset_queries)
for signal in (request_started, request_finished):
    signal.disconnect(close_old_connections)
    signal.connect(_tidy)
django_application = Handler()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Call Django with a body that has a length, because Django treats others as empty (ticket 35838).

    Chunked bodies under gunicorn have none. `serve` sets the length of every body.
    """
    if environ["REQUEST_METHOD"] in ("POST", "PUT", "PATCH") and not environ.get("CONTENT_LENGTH"):
        # One byte past the limit is enough to refuse it.
        body = environ["wsgi.input"].read(settings.TAKHIN_MAX_BODY_BYTES + 1)
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
    response = django_application(environ, start_response)
    _break_cycles(response)
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
