"""The WSGI application, for `manage.py serve` and gunicorn."""

import gc
import io
import os
from collections.abc import Callable, Iterable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "takhin_site.settings")

from django.conf import settings
from django.core.wsgi import get_wsgi_application

django_application = get_wsgi_application()

from producer.queue import finished_elsewhere, threads


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
