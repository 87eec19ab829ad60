"""Turn the JSON text of a key or value into Avro binary by a schema, and Avro binary back into JSON text."""

from producer.avro.errors import AvroMismatch, InvalidAvroSchema
from producer.avro.schema import AvroSchema

__all__ = ["AvroMismatch", "AvroSchema", "InvalidAvroSchema"]
