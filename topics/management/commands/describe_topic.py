from typing import Any

from django.core.management.base import CommandParser

from core.commands import OutputCommand
from topics.log import current_log


class Command(OutputCommand):
    help = "Show a topic's partitions and configs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        topic = current_log().topic(options["name"])
        partitions = [
            {
                "id": one.id,
                "firstOffset": one.first_offset if one.is_online else None,
                "highWaterMark": one.high_watermark if one.is_online else None,
                "leader": one.leader,
                "replicas": ",".join(map(str, one.replicas)),
                "inSyncReplicas": ",".join(map(str, one.in_sync_replicas)),
            }
            for one in topic.partitions
        ]
        configs = {
            "retention.ms": topic.config.retention_ms,
            "retention.bytes": topic.config.retention_bytes,
            **topic.config.others,
        }
        if options["json"]:
            self.tell(options, {"name": topic.name, "partitions": partitions, "configs": configs}, "")
            return
        self.tell_rows(options, partitions, "")
        for name, value in configs.items():
            self.stdout.write(f"{name}: {'unlimited' if value is None else value}")
