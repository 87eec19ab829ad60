"""Run the workers and housekeeping as threads of the server process."""

import multiprocessing.util
import threading

from django.conf import settings

from core.database import notifications
from producer.queue import observation
from producer.queue.housekeeping import keep_house_forever
from producer.queue.loop import Worker
from producer.queue.session_writer import SessionWriter, writes_in_sessions
from producer.queue.writers import DirectWriter
from topics.log import current_log

STOP_SECONDS = 10.0

_workers: list[Worker] = []


def new_worker() -> Worker:
    """Return a worker with the writer that the configured log needs."""
    topic_log = current_log()
    if writes_in_sessions(topic_log):
        return Worker(SessionWriter(topic_log))
    return Worker(DirectWriter(topic_log))


class _Share:
    """This process's share of the workers, and whether it keeps house: the first one of a server does."""

    workers = settings.TAKHIN_WORKERS
    keeps_house = True
    number = 0


def choose(number: int, count: int) -> None:
    """Share the workers among `count` processes, of which this is the one with this number. Call it before `start`."""
    _Share.workers = len(range(number, settings.TAKHIN_WORKERS, count))
    _Share.keeps_house = number == 0
    _Share.number = number


def start() -> None:
    """Start TAKHIN_WORKERS workers, and housekeeping if TAKHIN_HOUSEKEEPING_INTERVAL is not 0."""
    current_log().warm()
    # Not atexit, which does not run in a server's worker process forked by multiprocessing. Runs before the log closes.
    multiprocessing.util.Finalize(None, stop, exitpriority=20)
    for number in range(_Share.workers):
        worker = new_worker()
        _workers.append(worker)
        threading.Thread(target=worker.loop, name=f"takhin-worker-{number}", daemon=True).start()
    observation.start(serves_metrics=_Share.keeps_house, name=f"server-{_Share.number}")
    notifications.start(hears=_Share.workers > 0)
    if settings.TAKHIN_HOUSEKEEPING_INTERVAL and _Share.keeps_house:
        threading.Thread(target=keep_house_forever, name="takhin-housekeeping", daemon=True).start()


def stop() -> None:
    """Stop the workers after their current requests."""
    for worker in _workers:
        worker.stop()
    for worker in _workers:
        worker.wait_until_ended(STOP_SECONDS)
    observation.stop()


def trouble() -> str | None:
    """Return what keeps a worker from working, or None. An outage of the log is not reported: that ends by itself."""
    return next((trouble for worker in _workers if (trouble := worker.trouble)), None)
