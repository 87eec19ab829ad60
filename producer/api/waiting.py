"""Wait until a request is finished, without a thread if the server can wait by itself."""

import threading
import time
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest

from core import wakeups
from core.wakeups import Waiting
from producer.models import ProduceRequest

# Under gunicorn, waiting holds a thread. At least half of the threads stay free for other requests.
_waiting = threading.BoundedSemaphore(max(1, settings.TAKHIN_THREADS // 2))


def wait_until_finished(request: HttpRequest, find: Callable[[], ProduceRequest], seconds: float) -> ProduceRequest:
    """Return the request that `find` returns when it is finished, or its current state when the time is up.

    Raises Waiting if the server does the waiting, and then calls the application again.
    """
    row = find()
    if row.is_finished or seconds <= 0:
        return row
    match request.META.get("takhin.wait"):
        case "later":
            raise Waiting(row.pk, seconds, request.META.get("takhin.new_id"))
        case "over":
            return row
    if not _waiting.acquire(blocking=False):
        return row
    try:
        return _finished(find, row.pk, seconds)
    finally:
        _waiting.release()


def _finished(find: Callable[[], ProduceRequest], request_id: str, seconds: float) -> ProduceRequest:
    deadline = time.monotonic() + seconds
    row = find()
    while not row.is_finished and (left := deadline - time.monotonic()) > 0:
        wakeups.wait_finished(request_id, min(left, 0.25))
        row = find()
    return row
