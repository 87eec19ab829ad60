"""Look up the schemas of Avro keys and values, and decide which ones a request uses."""

from registry.sources.base import SchemaSource, current_source

__all__ = ["SchemaSource", "current_source"]
