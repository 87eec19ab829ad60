import argparse
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from core import audit
from core.commands import OutputCommand
from core.errors import StorageError
from registry import topic_settings
from topics.log import current_log
from topics.log.errors import TopicExists
from topics.log.records import TopicConfig


class Command(OutputCommand):
    help = "Create a topic."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--partitions", type=int, default=settings.TAKHIN_DEFAULT_PARTITIONS)
        parser.add_argument("--retention-ms", type=positive, help="delete records older than this")
        parser.add_argument("--retention-bytes", type=positive, help="keep this many stored bytes in each partition")
        parser.add_argument("--no-schemas", action="store_true", help="do not let produce requests register schemas")
        parser.add_argument("--if-not-exists", action="store_true", help="succeed if the topic already exists")
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["name"]
        config = TopicConfig(options["retention_ms"], options["retention_bytes"])
        try:
            with topic_settings.creating(name, not options["no_schemas"]):
                topic = current_log().create_topic(name, options["partitions"], config)
            audit.note("topic_created", "topic", name, partitions=len(topic.partitions))
        except TopicExists as error:
            if options["if_not_exists"]:
                self.tell(options, {"name": name, "created": False}, f"Topic {name} already exists.")
                return
            raise CommandError(str(error)) from error
        except StorageError as error:
            raise CommandError(str(error)) from error
        count = len(topic.partitions)
        value = {"name": name, "created": True, "partitions": count}
        self.tell(options, value, f"Created topic {name} with {count} partitions.")


def positive(text: str) -> int:
    """Parse a positive integer. Raises ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)
