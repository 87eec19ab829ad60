"""Notice requests that finish in other processes, for clients that wait for them in this one."""

import threading
import time

import structlog
from django.db import close_old_connections

from core import wakeups
from core.database import transactions
from core.errors import StorageError
from producer.models import ProduceRequest

log = structlog.get_logger("takhin.waits")
POLL_SECONDS = 0.25
# The most requests in one query. SQLite allows 32,766 parameters.
MOST_ASKED = 10_000


def start() -> None:
    threading.Thread(target=_watch, name="takhin-waits", daemon=True).start()


def _watch() -> None:
    while True:
        time.sleep(POLL_SECONDS)
        try:
            _look()
        except StorageError as error:
            log.warning("waits_not_looked_up", error=str(error))
        except Exception:
            log.exception("waits_failed")
        finally:
            close_old_connections()


def _look() -> None:
    """Check all awaited requests with one query."""
    waited_for = wakeups.waited_for()[:MOST_ASKED]
    if not waited_for:
        return
    with transactions.translated():
        pending = set(ProduceRequest.objects.pending().filter(pk__in=waited_for).values_list("pk", flat=True))
    for request_id in waited_for:
        # A purged request has finished too.
        if request_id not in pending:
            wakeups.finished(request_id)
