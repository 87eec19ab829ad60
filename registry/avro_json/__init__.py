"""Encode the JSON text of a key or value as Avro binary with a schema, and decode Avro binary to JSON text."""

from registry.avro_json.binary import Budget
from registry.avro_json.errors import AvroMismatch, InvalidAvroSchema, OutOfTime, TooLarge
from registry.avro_json.schema import AvroSchema

__all__ = ["AvroMismatch", "AvroSchema", "Budget", "InvalidAvroSchema", "OutOfTime", "TooLarge"]
