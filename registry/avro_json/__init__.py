"""Turn the JSON text of a key or value into Avro binary by a schema, and Avro binary back into JSON text."""

from registry.avro_json.binary import Budget
from registry.avro_json.errors import AvroMismatch, InvalidAvroSchema, OutOfTime, TooLarge
from registry.avro_json.schema import AvroSchema

__all__ = ["AvroMismatch", "AvroSchema", "Budget", "InvalidAvroSchema", "OutOfTime", "TooLarge"]
