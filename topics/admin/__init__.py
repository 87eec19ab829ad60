"""The log's admin pages: topics, partitions, record batches and the record browser."""

from topics.admin import partitions, topics

__all__ = ["partitions", "topics"]
