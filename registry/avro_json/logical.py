"""Recognize logical types. Unknown and invalid ones are ignored, as the specification requires ("Logical Types")."""

import math
from typing import Any

from registry.avro_json.errors import InvalidAvroSchema
from registry.avro_json.limits import MOST_DIGITS
from registry.avro_json.nodes import Logical

# The underlying types that each logical type may annotate.
UNDERLYING = {
    "date": {"int"},
    "time-millis": {"int"},
    "time-micros": {"long"},
    "timestamp-millis": {"long"},
    "timestamp-micros": {"long"},
    "timestamp-nanos": {"long"},
    "local-timestamp-millis": {"long"},
    "local-timestamp-micros": {"long"},
    "local-timestamp-nanos": {"long"},
    "uuid": {"string", "fixed"},
    "decimal": {"bytes", "fixed"},
    "duration": {"fixed"},
}
SIZES = {"uuid": 16, "duration": 12}


def logical_of(schema: dict[str, Any]) -> Logical | None:
    """Return the logical type of a primitive or fixed, or None to use the underlying type. Raises InvalidAvroSchema."""
    name, kind = schema.get("logicalType"), schema["type"]
    if not isinstance(name, str) or kind not in UNDERLYING.get(name, ()):
        return None
    size = schema.get("size") if kind == "fixed" else None
    if name == "decimal":
        return _decimal(schema, size)
    return None if kind == "fixed" and size != SIZES[name] else Logical(name)


def _decimal(schema: dict[str, Any], size: Any) -> Logical | None:
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if type(precision) is not int or type(scale) is not int or not 0 <= scale <= precision or precision < 1:
        return None
    # The largest number of n bytes is 2^(8n-1)-1.
    if type(size) is int and precision > math.floor(math.log10(2) * (8 * size - 1)):
        return None
    if precision > MOST_DIGITS:
        raise InvalidAvroSchema(f"a decimal has a precision of more than {MOST_DIGITS} digits")
    return Logical("decimal", precision, scale)
