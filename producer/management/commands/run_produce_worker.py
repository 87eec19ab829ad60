import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from core.database import notifications
from core.database.checks import refuse_unsafe_database
from core.signals import STOP, Inbox
from producer.queue import observation
from producer.queue.threads import new_worker


class Command(BaseCommand):
    help = (
        "Run one worker for async requests. SIGTERM or Ctrl-C stops it after the current request, a second one at once."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_unsafe_database()
        inbox = Inbox(STOP)
        worker = new_worker()
        observation.start(serves_metrics=True, name="worker")
        notifications.start(hears=True)
        thread = threading.Thread(target=worker.loop, name="takhin-worker")
        thread.start()
        while thread.is_alive() and inbox.next(0.2) is None:
            pass
        worker.stop()
        for number in STOP:
            signal.signal(number, signal.SIG_DFL)
        thread.join()
        observation.stop()
