from typing import Any

from core.commands import OutputCommand
from topics.log import current_log


class Command(OutputCommand):
    help = "List the topics."

    def handle(self, *args: Any, **options: Any) -> None:
        rows = [
            {
                "name": topic.name,
                "partitions": len(topic.partitions),
                "kept": sum(partition.kept for partition in topic.partitions if partition.is_online),
                "retentionMs": topic.config.retention_ms,
                "retentionBytes": topic.config.retention_bytes,
            }
            for topic in current_log().topics()
        ]
        self.tell_rows(options, rows, "There are no topics.")
