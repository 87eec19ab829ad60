from typing import Any

from django.core.management.base import CommandParser

from core.commands import OutputCommand
from producer.models import ProduceRequest, Status
from producer.queue import selection


class Command(OutputCommand):
    help = "List produce requests, the newest first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--status", choices=Status.values)
        selection.add_filters(parser)
        parser.add_argument("--limit", type=int, default=50, help="the most requests to list (default: 50)")
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        rows = selection.filtered(ProduceRequest.objects.defer("body", "outcomes", "earlier"), options)
        if options["status"]:
            rows = rows.filter(status=options["status"])
        found = [
            {
                "requestId": row.pk,
                "status": row.status,
                "mode": row.mode,
                "topic": row.topic,
                "code": row.code,
                "records": row.record_count,
                "written": row.written_count,
                "createdAt": row.created_at,
            }
            for row in rows.order_by("-id")[: max(0, options["limit"])]
        ]
        self.tell_rows(options, found, "There are no such requests.")
