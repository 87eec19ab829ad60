"""The base of commands that print what they find: a table to people, JSON to programs."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from core.errors import StorageError

Row = dict[str, Any]


class OutputCommand(BaseCommand):
    """Adds `--json`, and ends with exit code 1 and one line if the storage cannot do what is asked."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")

    def execute(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute(*args, **options)
        except StorageError as error:
            raise CommandError(str(error)) from error

    def tell(self, options: Row, value: Any, text: str) -> None:
        """Print the value as JSON, or the text."""
        self.stdout.write(json.dumps(value, cls=DjangoJSONEncoder) if options["json"] else text)

    def tell_rows(self, options: Row, rows: Sequence[Row], nothing: str) -> None:
        """Print rows as a JSON array or as a table whose columns are their keys, or `nothing`."""
        if options["json"]:
            self.stdout.write(json.dumps(rows, cls=DjangoJSONEncoder))
        elif rows:
            self.stdout.write(_table(rows))
        else:
            self.stdout.write(nothing)


def _table(rows: Sequence[Row]) -> str:
    table = Table(box=None, pad_edge=False, header_style="")
    for name in rows[0]:
        # Names are long, and what is cut off cannot be copied.
        table.add_column(name, overflow="fold", no_wrap=True)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    console = Console(width=1000, color_system=None, markup=False, highlight=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far it has come, on a terminal. Call the result with the number of steps that were made."""
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as shown:
        task = shown.add_task(what, total=total)
        yield lambda steps: shown.advance(task, steps)
