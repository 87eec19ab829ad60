import signal
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand

from core.database.checks import refuse_unsafe_database
from producer.queue.threads import new_worker


class Command(BaseCommand):
    help = (
        "Run one worker for async requests. SIGTERM or Ctrl-C stops it after the current request, a second one at once."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_unsafe_database()
        worker = new_worker()

        def stop(number: int, frame: FrameType | None) -> None:
            worker.stop()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        worker.loop()
