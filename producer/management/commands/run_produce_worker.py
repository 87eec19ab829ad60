import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from core.database import notifications
from core.database.checks import refuse_unsafe_database
from producer.queue.threads import new_worker

STOP = {signal.SIGTERM, signal.SIGINT}


class Command(BaseCommand):
    help = (
        "Run one worker for async requests. SIGTERM or Ctrl-C stops it after the current request, a second one at once."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_unsafe_database()
        # Blocked in all threads, and taken by this one when it asks. A handler would interrupt the worker anywhere, and
        # then wait forever for a lock that the worker holds.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
        worker = new_worker()
        notifications.start(hears=True)
        thread = threading.Thread(target=worker.loop, name="takhin-worker")
        thread.start()
        while thread.is_alive() and signal.sigtimedwait(STOP, 0.2) is None:
            pass
        worker.stop()
        for number in STOP:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
        thread.join()
