"""Run the workers and housekeeping as threads of the server process."""

import multiprocessing.util
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import structlog
from django.conf import settings
from django.db import close_old_connections

from core.database import transactions
from core.errors import OutcomeUnknown, StorageUnavailable
from producer import services
from producer.models import ProduceRequest
from producer.queue.session_worker import SessionWorker
from producer.queue.worker import Worker
from topics.log import current_log

log = structlog.get_logger("takhin.background")
PURGE_STEP = 500
STOP_SECONDS = 10.0

_workers: list[Worker] = []


def new_worker() -> Worker:
    """Return the kind of worker that the configured log needs."""
    log_in_use = current_log()
    if log_in_use.supports_sessions and settings.TAKHIN_KAFKA_EXACTLY_ONCE:
        return SessionWorker(log_in_use)
    return Worker()


def start() -> None:
    """Start TAKHIN_WORKERS workers, and housekeeping every TAKHIN_HOUSEKEEPING_INTERVAL seconds."""
    current_log().warm()
    # Not atexit, which does not run in a server's worker process forked by multiprocessing. Runs before the log closes.
    multiprocessing.util.Finalize(None, stop, exitpriority=20)
    for number in range(settings.TAKHIN_WORKERS):
        worker = new_worker()
        _workers.append(worker)
        threading.Thread(target=worker.loop, name=f"takhin-worker-{number}", daemon=True).start()
    if settings.TAKHIN_HOUSEKEEPING_INTERVAL:
        threading.Thread(target=_keep_house, name="takhin-housekeeping", daemon=True).start()


def stop() -> None:
    """Stop the workers after their current requests."""
    for worker in _workers:
        worker.stop()
    for worker in _workers:
        worker.wait_until_ended(STOP_SECONDS)


def workers_are_alive() -> bool:
    return all(worker.is_alive for worker in _workers)


def _keep_house() -> None:
    while True:
        time.sleep(settings.TAKHIN_HOUSEKEEPING_INTERVAL)
        try:
            purged = purge(timedelta(seconds=settings.TAKHIN_REQUEST_TTL))
            expired = current_log().enforce_retention(services.now_ms())
            if purged or expired:
                log.info("housekeeping", requests=purged, records=expired)
        except (StorageUnavailable, OutcomeUnknown) as error:
            log.warning("housekeeping put off", error=str(error))
        except Exception:
            log.exception("housekeeping failed, goes on")
        finally:
            close_old_connections()


def purge(older_than: timedelta, progress: Callable[[int], object] | None = None) -> int:
    """Delete requests that finished longer ago than this, committing every PURGE_STEP. Never deletes pending ones.

    Return how many were deleted.
    """
    deleted = 0
    while step := transactions.commit(lambda: _purge_step(older_than)):
        deleted += step
        if progress is not None:
            progress(step)
    return deleted


def _purge_step(older_than: timedelta) -> int:
    expired = ProduceRequest.objects.finished_for(older_than)
    # Several processes may purge at the same time.
    mine = expired.order_by("id").select_for_update(skip_locked=True)
    doomed = list(mine.values_list("pk", flat=True)[:PURGE_STEP])
    return expired.filter(pk__in=doomed).delete()[0] if doomed else 0
