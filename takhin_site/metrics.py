"""The endpoint for Prometheus."""

import platform
from collections.abc import Iterator
from typing import ClassVar

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.viewsets import ViewSet

from core.database.checks import describe
from core.metrics import Observed, observers


class MetricsViewSet(ViewSet):
    scopes: ClassVar[dict[str, str]] = {"retrieve": "metrics"}

    @extend_schema(exclude=True)
    def retrieve(self, request: Request) -> HttpResponse:
        # Prometheus' client takes time to import, which a server that nobody scrapes saves.
        from core.metrics import exposition

        text, content_type = exposition.render(request.META.get("HTTP_ACCEPT", ""))
        return HttpResponse(text, content_type=content_type)


def _build() -> Iterator[Observed]:
    labels = ("version", "python", "database", "log")
    values = (settings.VERSION, platform.python_version(), describe(), settings.TAKHIN_LOG)
    yield Observed("takhin_build_info", "The version of the server, and what it runs on.", labels, [(values, 1)])


observers.append(_build)
