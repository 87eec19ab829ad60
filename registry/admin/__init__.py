"""The registry's admin pages, and those of topics with their registration settings."""

from registry.admin import tables, topics

__all__ = ["tables", "topics"]
