"""Where the schemas of Avro keys and values come from, and which one a request means."""

from producer.schemas.sources import SchemaSource, current_source

__all__ = ["SchemaSource", "current_source"]
