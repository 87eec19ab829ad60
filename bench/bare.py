"""Serve a bare Django view on the product's own server: what a request costs before the product does anything.

`python -m bench.bare PORT` serves POST /api/topics/demo/produce with a view that reads the body and returns a constant.
"""

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "takhin_site.settings")

import django
from django.conf import settings

django.setup()

from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path

from takhin_site.management.commands.serve import bind, listen
from takhin_site.server import serving


def view(request: HttpRequest) -> HttpResponse:
    request.read()
    return HttpResponse(
        b'{"offsets":[{"partition":0,"offset":0,"timestamp":1767225600000}]}', content_type="application/json"
    )


urlpatterns = [path("api/topics/demo/produce", view)]


def main() -> None:
    settings.MIDDLEWARE = []
    settings.ROOT_URLCONF = "bench.bare"
    listeners = bind("127.0.0.1", int(sys.argv[1]), 1)
    listen(listeners)
    # Open, so that the server serves until it gets a signal.
    reading, _ = os.pipe()
    serving.serve(WSGIHandler(), listeners[0], reading)


if __name__ == "__main__":
    main()
