"""The log's admin pages: partitions, record batches and the record browser."""

from topics.admin import partitions

__all__ = ["partitions"]
