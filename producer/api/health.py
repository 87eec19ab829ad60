"""Report whether this process is alive, and whether it can serve."""

from collections.abc import Iterator

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.database.checks import describe
from core.metrics import Observed, observers
from producer.api import health_openapi
from producer.queue import checkup
from topics.log import current_log

# Without it, everything works except Avro with schemas that are not cached.
REGISTRY = "schemaRegistry"
# Checks that do not affect readiness: without them, the server can still do the rest.
DEGRADING = (REGISTRY, "backlog")


class _OpenView(APIView):
    """A view that requires no API key, so that probes can call it."""

    authentication_classes = ()
    permission_classes = ()


class LiveView(_OpenView):
    @health_openapi.live
    def get(self, request: Request) -> Response:
        return Response({"alive": True})


class ReadyView(_OpenView):
    @health_openapi.ready
    def get(self, request: Request) -> Response:
        reasons = {name: reason for name, reason in checkup.current.reasons().items() if reason}
        degraded = [name for name in reasons if name in DEGRADING]
        failing = [name for name in reasons if name not in DEGRADING]
        if failing == ["log"] and not current_log().supports_transactions:
            # Stay ready while the Kafka cluster is down: the server still accepts async requests.
            failing, degraded = [], ["log", *degraded]
        if not failing:
            told = {"degraded": degraded, "reasons": {name: reasons[name] for name in degraded}} if degraded else {}
            return Response({"ready": True, "database": describe(), **told})
        return _failing({"ready": False, "failing": failing, "reasons": {name: reasons[name] for name in failing}})


class HealthView(_OpenView):
    @health_openapi.health
    def get(self, request: Request) -> Response:
        reasons = {name: reason for name, reason in checkup.current.reasons().items() if name != REGISTRY}
        checks = {name: not reason for name, reason in reasons.items()}
        if all(checks.values()):
            return Response({"status": "ok", "version": settings.VERSION, "checks": checks})
        told = {name: reason for name, reason in reasons.items() if reason}
        return _failing({"status": "failing", "version": settings.VERSION, "checks": checks, "reasons": told})


def _observe() -> Iterator[Observed]:
    reasons = checkup.current.reasons()
    samples = [((check,), float(not reason)) for check, reason in reasons.items()]
    yield Observed("takhin_health", "Whether a check passes, as /api/health says.", ("check",), samples)


observers.append(_observe)


def _failing(body: dict[str, object]) -> Response:
    return Response(body, status=503, headers={"Retry-After": "1"})
