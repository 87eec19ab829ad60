"""Begin to measure a process that serves or works, and show its metrics."""

import threading
from collections.abc import Iterator

import structlog
from django.conf import settings

from core import metrics, rollups, spans
from core.database import observation as database
from core.metrics import Observed, observers, process_observers
from core.metrics.process import name_process
from producer.queue import backlog
from topics.log import current_log

log = structlog.get_logger("takhin.metrics")
_keeper = rollups.Keeper()


def start(*, serves_metrics: bool, name: str) -> None:
    """Share this process's numbers with others, and sum them up.

    One that `serves_metrics` shows those of all processes on TAKHIN_METRICS_PORT.
    """
    metrics.share()
    name_process(name)
    _keeper.start()
    spans.start()
    if serves_metrics and settings.TAKHIN_METRICS_PORT:
        threading.Thread(target=_serve, name="takhin-metrics", daemon=True).start()


def stop() -> None:
    """Save what was counted."""
    _keeper.stop()
    spans.stop()


def _serve() -> None:
    # It takes time to import, and few processes need it.
    from prometheus_client import start_http_server

    from core.metrics.exposition import registry

    host, port = settings.TAKHIN_METRICS_HOST, settings.TAKHIN_METRICS_PORT
    try:
        start_http_server(port, host, registry)
    except OSError as error:
        log.warning("metrics_port_in_use", host=host, port=port, error=str(error))


def _queue() -> Iterator[Observed]:
    found = backlog.now()
    yield Observed("takhin_pending_requests", "Requests that wait for a worker.", (), [((), found.pending)])
    yield Observed(
        "takhin_oldest_pending_seconds",
        "How long the oldest pending request has waited.",
        (),
        [((), found.oldest.total_seconds())],
    )
    yield Observed("takhin_workers", "Workers that were seen within 45 seconds.", (), [((), found.workers)])


def _log() -> Iterator[Observed]:
    yield from current_log().observe()


observers += [_queue, database.observe]
process_observers += [_log, database.observe_pool]
