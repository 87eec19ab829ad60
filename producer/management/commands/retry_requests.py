from typing import Any, ClassVar

from django.core.management.base import CommandParser

from core import audit
from core.commands import OutputCommand, progress
from core.database import notifications, transactions
from producer.models import BulkAction, RequestMode, Status, new_bulk_change
from producer.queue import bulk_changes, selection


class Command(OutputCommand):
    help = (
        "Have workers write the failed records of async requests again. Cancelled and sync requests are retried only "
        "if their ids are given, because a client may have sent them again."
    )
    action = BulkAction.RETRY
    statuses: ClassVar[tuple[Status, ...]] = (Status.FAILED, Status.PARTIAL)
    event = "request_retried"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("ids", nargs="*", metavar="ID")
        selection.add_filters(parser)
        parser.add_argument("--all", action="store_true", help="all requests that can be changed")
        parser.add_argument("--dry-run", action="store_true", help="print how many requests would be changed")
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        rows = selection.chosen(options, self.statuses)
        if not options["ids"] and self.action == BulkAction.RETRY:
            rows = rows.filter(mode=RequestMode.ASYNC)
        ids = list(rows.order_by("id").values_list("pk", flat=True))
        if options["dry_run"] or not ids:
            self.tell(options, {"total": len(ids), "changed": 0}, f"{len(ids)} requests would be changed.")
            return
        change = new_bulk_change(self.action, "the command line", ids)
        transactions.commit(change.save)
        audit.note(self.event, "requests", str(change.pk), count=len(ids))
        with progress(self.action.label, len(ids)) as advance:
            done = bulk_changes.run(change.pk, advance)
        notifications.work_arrived()
        skipped = done.read_skipped()
        reasons = "".join(f"\n  {count} left as they were: {reason}" for reason, count in sorted(skipped.items()))
        value = {"total": done.total, "changed": done.changed, "skipped": skipped}
        self.tell(options, value, f"{done.changed} of {done.total} requests changed.{reasons}")
