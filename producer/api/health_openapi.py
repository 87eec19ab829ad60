"""The OpenAPI description of the health checks."""

from collections.abc import Callable
from typing import Any, TypeVar

from django.conf import settings
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema

from core.api.openapi import SHARED, problems
from producer.api import serializers

F = TypeVar("F", bound=Callable[..., Any])


def _health(
    operation: str, summary: str, body: Any, value: dict[str, Any], failing: dict[str, Any] | None
) -> Callable[[F], F]:
    responses: dict[Any, Any] = {
        200: OpenApiResponse(body, examples=[OpenApiExample("ok", value=value, response_only=True)]),
        **problems(405, 500),
    }
    if failing is not None:
        example = OpenApiExample("failing", value=failing, response_only=True)
        responses[503] = OpenApiResponse(body, examples=[example])
    documented: Callable[[F], F] = extend_schema(
        operation_id=operation, summary=summary, tags=["health"], auth=[], parameters=SHARED, responses=responses
    )
    return documented


_reasons = {"database": "another process has kept the database locked for 12 seconds"}
live = _health("live", "Check that the process is alive", serializers.LiveSerializer, {"alive": True}, None)
ready = _health(
    "ready",
    "Check that the server can handle requests",
    serializers.ReadySerializer,
    {"ready": True},
    {"ready": False, "failing": ["database"], "reasons": _reasons},
)
_checks = {"database": True, "disk": True, "log": True, "migrations": True, "workers": True}
health = _health(
    "health",
    "Get the result of every check",
    serializers.HealthSerializer,
    {"status": "ok", "version": settings.VERSION, "checks": _checks},
    {"status": "failing", "version": settings.VERSION, "checks": {**_checks, "database": False}, "reasons": _reasons},
)
