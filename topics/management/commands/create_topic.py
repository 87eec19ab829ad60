import argparse
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from topics.errors import LogError, TopicExists
from topics.logs import current_log
from topics.records import TopicConfig


class Command(BaseCommand):
    help = "Create a topic."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--partitions", type=int, default=settings.TAKHIN_DEFAULT_PARTITIONS)
        parser.add_argument("--retention-ms", type=positive, help="delete records older than this")
        parser.add_argument("--retention-bytes", type=positive, help="stored bytes to keep in each partition")
        parser.add_argument("--no-schemas", action="store_true", help="let no produce request register a schema")
        parser.add_argument("--if-not-exists", action="store_true", help="succeed when the topic exists")

    def handle(self, *args: Any, **options: Any) -> str:
        name = options["name"]
        try:
            topic = current_log().create_topic(
                name,
                options["partitions"],
                TopicConfig(options["retention_ms"], options["retention_bytes"], not options["no_schemas"]),
            )
        except TopicExists as error:
            if options["if_not_exists"]:
                return f"Topic {name} exists."
            raise CommandError(str(error)) from error
        except LogError as error:
            raise CommandError(str(error)) from error
        return f"Created topic {name} with {len(topic.partitions)} partitions."


def positive(text: str) -> int:
    """A whole number from 1. Raises ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)
