from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from core.commands import OutputCommand
from core.database import backup


class Command(OutputCommand):
    help = (
        "Put a backup in the place of SQLite's database, while no server runs. The database that was there is kept "
        "beside it."
    )
    # They would open the database.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            before = backup.restore(options["file"])
        except backup.NotPossible as error:
            raise CommandError(str(error)) from error
        text = f"Restored {options['file']}."
        if before is not None:
            text += f" What was there before is in {before}."
        self.tell(options, {"file": str(options["file"]), "before": before and str(before)}, text)
