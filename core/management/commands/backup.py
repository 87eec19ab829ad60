from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.template.defaultfilters import filesizeformat

from core.commands import OutputCommand, progress
from core.database import backup


class Command(OutputCommand):
    help = "Copy SQLite's database to a new file, which only its owner can read. Servers may be running."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["file"]
        done = 0

        try:
            with progress("Copying", 100) as advance:

                def show(copied: int, total: int) -> None:
                    nonlocal done
                    percent = 100 * copied // max(1, total)
                    advance(percent - done)
                    done = percent

                size = backup.back_up(file, show)
        except backup.NotPossible as error:
            raise CommandError(str(error)) from error
        shown = filesizeformat(size).replace("\xa0", " ")
        self.tell(options, {"file": str(file), "bytes": size}, f"Backed up to {file}: {shown}, and intact.")
