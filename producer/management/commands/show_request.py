from typing import Any

import msgspec
from django.core.management.base import CommandError, CommandParser

from core.commands import OutputCommand
from producer.models import ProduceRequest, attempts_in


class Command(OutputCommand):
    help = "Show a produce request: its state, its attempts and its records' results. Its payload is not shown."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id")
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        row = ProduceRequest.objects.filter(pk=options["id"]).defer("body").first()
        if row is None:
            raise CommandError(f"there is no request {options['id']!r}; finished ones are purged after a while")
        shown = {
            "requestId": row.pk,
            "xRequestId": row.trace_id,
            "status": row.status,
            "mode": row.mode,
            "topic": row.topic,
            "records": row.record_count,
            "written": row.written_count,
            "code": row.code,
            "error": row.error,
            "attempts": row.attempts,
            "createdAt": row.created_at,
            "completedAt": row.completed_at,
        }
        earlier = [msgspec.to_builtins(attempt) for attempt in attempts_in(row.earlier)]
        outcomes = msgspec.json.decode(row.read_outcomes() or b"[]")
        if options["json"]:
            self.tell(options, {**shown, "earlier": earlier, "offsets": outcomes}, "")
            return
        for name, value in shown.items():
            self.stdout.write(f"{name}: {'' if value is None else value}")
        for attempt in earlier:
            self.stdout.write(f"earlier: {attempt['at']} {attempt['code']} {attempt['error']}")
        for index, outcome in enumerate(outcomes):
            text = outcome.get("error") or f"partition {outcome['partition']}, offset {outcome['offset']}"
            self.stdout.write(f"record {index}: {text.removeprefix(f'record {index}: ')}")
