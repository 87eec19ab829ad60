import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from core import audit
from core.commands import OutputCommand
from registry import topic_settings
from topics.log import current_log


class Command(OutputCommand):
    help = "Delete a topic and its records."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["name"]
        topic = current_log().topic(name)
        kept = sum(partition.kept for partition in topic.partitions)
        if not options["yes"]:
            if not sys.stdin.isatty():
                raise CommandError("nobody can be asked here; add --yes to delete the topic")
            if input(f"Type the topic's name to delete it with {kept:,} records: ") != name:
                raise CommandError("not deleted")
        current_log().delete_topic(name)
        topic_settings.forget(name)
        audit.note("topic_deleted", "topic", name)
        self.tell(options, {"name": name, "deleted": True}, f"Deleted topic {name}.")
