import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.defaultfilters import filesizeformat
from rich.console import Console
from rich.progress import Progress

from core.database.driver_errors import translated
from core.errors import StorageUnavailable
from topics.log.embedded.inspection import Inspection
from topics.log.embedded.log import is_embedded
from topics.models import Partition


class Command(BaseCommand):
    help = (
        "Verify every batch of the embedded log: checksums, offsets and partition counters. Prints a line for each "
        "problem and exits with status 1 if there are any. The server may be running."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--topic", action="append", metavar="NAME", help="check only this topic; may be repeated")

    def handle(self, *args: Any, **options: Any) -> None:
        if not is_embedded():
            raise CommandError("check_log supports only the embedded log (TAKHIN_LOG=embedded)")
        try:
            with translated():
                partitions = _partitions(options["topic"])
        except StorageUnavailable as error:
            raise CommandError(f"the log cannot be read: {error}") from error
        done, problems = self.inspect(partitions)
        self.stdout.write(_summary(done, problems))
        if problems:
            sys.exit(1)

    def inspect(self, partitions: list[Partition]) -> tuple[list[Inspection], int]:
        """Scan partitions and print their problems; return the scans and the number of problems."""
        done, problems = [], 0
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("Checking", total=sum(partition.record_count for partition in partitions))
            for partition in partitions:
                inspection = Inspection(partition, lambda count: progress.advance(task, count))
                inspection.run()
                for problem in inspection.problems:
                    self.stdout.write(f"{partition}: {problem}")
                if inspection.untold:
                    self.stdout.write(f"{partition}: {inspection.untold} more")
                if not sys.stderr.isatty():
                    self.stderr.write(f"{partition}: {_counted(inspection.batches, 'batch', 'batches')} checked")
                problems += len(inspection.problems) + inspection.untold
                done.append(inspection)
        return done, problems


def _partitions(topics: list[str] | None) -> list[Partition]:
    rows = Partition.objects.filter(topic__isnull=False).select_related("topic").order_by("topic__name", "number")
    found = list(rows if topics is None else rows.filter(topic__name__in=topics))
    names = {str(partition.topic) for partition in found}
    if missing := sorted(set(topics or ()) - names):
        raise CommandError(f"there is no topic named {', '.join(map(repr, missing))}")
    return found


def _summary(done: list[Inspection], problems: int) -> str:
    checked = ", ".join(
        (
            _counted(len(done), "partition", "partitions"),
            _counted(sum(one.batches for one in done), "batch", "batches"),
            _counted(sum(one.records for one in done), "record", "records"),
            filesizeformat(sum(one.bytes for one in done)).replace("\xa0", " "),
        )
    )
    return f"Checked {checked}: {_counted(problems, 'problem', 'problems') if problems else 'no problems'}."


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
