import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from rich.console import Console
from rich.progress import Progress

from core.durations import parse_duration
from producer.models import ProduceRequest
from producer.queue import housekeeping


class Command(BaseCommand):
    help = (
        "Delete finished produce requests, idempotency keys older than TAKHIN_IDEMPOTENCY_TTL, and records that are "
        "past their topic's retention. "
        "Pending requests are never deleted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        default = f"{settings.TAKHIN_REQUEST_TTL}s"
        parser.add_argument("--older-than", type=parse_duration, default=default, metavar="30m")
        parser.add_argument(
            "--dry-run", action="store_true", help="print how many requests would be deleted, without deleting any"
        )

    def handle(self, *args: Any, **options: Any) -> str:
        age = options["older_than"]
        total = ProduceRequest.objects.finished_for(age).count()
        if options["dry_run"]:
            return f"Would delete {_requests(total)} older than {age}."
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("Deleting", total=total)
            deleted = housekeeping.purge(age, lambda step: progress.advance(task, step))
        housekeeping.purge_keys()
        expired = housekeeping.enforce_retention()
        records = "1 record" if expired == 1 else f"{expired} records"
        return f"Deleted {_requests(deleted)} older than {age} and {records} past retention."


def _requests(count: int) -> str:
    return "1 finished request" if count == 1 else f"{count} finished requests"
