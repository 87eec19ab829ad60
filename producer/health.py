"""Say whether this process lives, and whether it can serve."""

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from producer import background, docs
from producer.errors import RegistryUnavailable
from producer.models import ProduceRequest
from producer.schemas import current_source
from topics import commits
from topics.errors import LogRefused, LogUnavailable
from topics.logs import current_log


class _OpenView(APIView):
    """No key needed, so that a probe can ask."""

    authentication_classes = ()
    permission_classes = ()


class LiveView(_OpenView):
    @docs.live
    def get(self, request: Request) -> Response:
        return Response({"alive": True})


class ReadyView(_OpenView):
    @docs.ready
    def get(self, request: Request) -> Response:
        failing = [name for name, ok in _checks().items() if not ok]
        degraded = [] if _registry_serves() else ["schemaRegistry"]
        if failing == ["log"] and not current_log().supports_transactions:
            # The cluster's outage is no reason to take the gateways away: they still accept async requests.
            failing, degraded = [], ["log", *degraded]
        if not failing:
            return Response({"ready": True, **({"degraded": degraded} if degraded else {})})
        return Response({"ready": False, "failing": failing}, status=503, headers={"Retry-After": "1"})


class HealthView(_OpenView):
    @docs.health
    def get(self, request: Request) -> Response:
        checks = _checks()
        healthy = all(checks.values())
        body = {"status": "ok" if healthy else "failing", "version": settings.VERSION, "checks": checks}
        return Response(body, status=200 if healthy else 503, headers={} if healthy else {"Retry-After": "1"})


def _checks() -> dict[str, bool]:
    return {
        "database": _database_serves(),
        "log": _log_serves(),
        "migrations": _is_migrated(),
        "workers": background.workers_are_alive(),
    }


def _registry_serves() -> bool:
    """Without it everything but Avro by unknown schemas goes on, so that it makes nobody unready."""
    try:
        current_source().check()
    except RegistryUnavailable:
        return False
    return True


def _database_serves() -> bool:
    try:
        with commits.translated():
            ProduceRequest.objects.only("pk").first()
    except LogUnavailable:
        return False
    return True


def _log_serves() -> bool:
    try:
        current_log().check()
    except (LogUnavailable, LogRefused):
        return False
    return True


_migrated = False


def _is_migrated() -> bool:
    """Whether every migration of this version has been applied; once true, it stays so for this process."""
    global _migrated
    if not _migrated:
        try:
            with commits.translated():
                executor = MigrationExecutor(connection)
                _migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        except LogUnavailable:
            return False
    return _migrated
