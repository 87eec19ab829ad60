import os
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from core import audit
from core.commands import OutputCommand, progress
from producer.models import RequestMode, Status
from producer.queue import export, selection


class Command(OutputCommand):
    help = (
        "Write the failed records of async requests to a file as NDJSON, which can be produced again. Prints the path "
        "and query to send it to."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="a new file, or - for standard output")
        parser.add_argument("ids", nargs="*", metavar="ID")
        selection.add_filters(parser)
        parser.add_argument("--all", action="store_true", help="all requests with failed records")
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        rows = selection.chosen(options, (Status.FAILED, Status.PARTIAL)).filter(mode=RequestMode.ASYNC)
        place, ids, left = export.alike(rows)
        if not ids:
            raise CommandError("there is nothing to export")
        audit.note("records_exported", "topic", options["topic"] or "", count=len(ids))
        with _opened(options["file"]) as file, progress("Exporting", len(ids)) as advance:
            for pk in ids:
                file.write(export.lines_of(pk))
                advance(1)
        text = (
            f"Exported {len(ids)} requests. Send them with: curl HOST{place} -H 'Content-Type: application/x-ndjson' "
        )
        text += f"--data-binary @{options['file']}"
        if left:
            text += f"\n{left} requests with other parameters are left out: export them by their ids."
        if options["file"] == "-":
            self.stderr.write(text)
        else:
            self.tell(options, {"requests": len(ids), "produce": place, "leftOut": left}, text)


def _opened(name: str) -> Any:
    if name == "-":
        return os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    try:
        return os.fdopen(os.open(Path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        raise CommandError(f"cannot write {name}: {error.strerror}") from error
