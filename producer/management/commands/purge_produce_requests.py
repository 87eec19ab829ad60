import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from rich.console import Console
from rich.progress import Progress

from core.durations import parse_duration
from core.formatting import length
from producer.models import ProduceRequest
from producer.queue import housekeeping


class Command(BaseCommand):
    help = (
        "Delete finished produce requests, idempotency keys older than TAKHIN_IDEMPOTENCY_TTL, and records that are "
        "past their topic's retention. "
        "Pending requests are never deleted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than",
            type=parse_duration,
            default=f"{settings.TAKHIN_REQUEST_TTL}s",
            metavar="30m",
            help="how long ago a request has finished (default: TAKHIN_REQUEST_TTL)",
        )
        parser.add_argument(
            "--failures-older-than",
            type=parse_duration,
            default=f"{settings.TAKHIN_FAILURE_TTL}s",
            metavar="7d",
            help="the same for async requests with failed records (default: TAKHIN_FAILURE_TTL)",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="print how many requests would be deleted, without deleting any"
        )

    def handle(self, *args: Any, **options: Any) -> str:
        age, failure_age = options["older_than"], options["failures_older_than"]
        ages = f"{length(age)} ({length(failure_age)} if a record failed)"
        total = ProduceRequest.objects.expired(age, failure_age).count()
        if options["dry_run"]:
            return f"Would delete {_requests(total)} older than {ages}."
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("Deleting", total=total)
            deleted = housekeeping.purge(age, failure_age, lambda step: progress.advance(task, step))
        housekeeping.purge_keys()
        expired = housekeeping.enforce_retention()
        records = "1 record" if expired == 1 else f"{expired} records"
        return f"Deleted {_requests(deleted)} older than {ages} and {records} past retention."


def _requests(count: int) -> str:
    return "1 finished request" if count == 1 else f"{count} finished requests"
