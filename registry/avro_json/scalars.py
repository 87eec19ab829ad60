"""Write null, numbers, strings, bytes and enums."""

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable
from typing import Any

from registry.avro_json import decimals, durations
from registry.avro_json.binary import INT, LONG, Output, Writer, count, zigzag
from registry.avro_json.errors import Refusal
from registry.avro_json.nodes import Enum, Fixed, Logical, Primitive, label
from registry.avro_json.times import Clock
from registry.avro_json.values import NumberText

FLOAT = struct.Struct("<f")
DOUBLE = struct.Struct("<d")
SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
UUID = re.compile(r"[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}", re.ASCII | re.IGNORECASE)


def write_null(value: Any, out: Output) -> None:
    if value is not None:
        raise Refusal("null", value)


def write_boolean(value: Any, out: Output) -> None:
    if value is True:
        out.append(1)
    elif value is False:
        out.append(0)
    else:
        raise Refusal("boolean", value)


def write_string(value: Any, out: Output) -> None:
    if type(value) is not str:
        raise Refusal("string", value)
    encoded = value.encode()
    out += count(len(encoded))
    out += encoded


def write_uuid(value: Any, out: Output) -> None:
    if type(value) is not str or UUID.fullmatch(value) is None:
        raise Refusal("uuid", value)
    write_string(value, out)


def integer(node: Primitive, *, texts: bool) -> Writer:
    """Return a writer for JSON integers; it rejects 1.0 and true. With `texts`, times may be ISO 8601 strings."""
    allowed = INT if node.tag == "int" else LONG
    least, most = allowed[0], allowed[-1]
    clock = None if node.logical is None else Clock(node.logical.name)
    expected = node.tag if clock is None else clock.expected

    def write(value: Any, out: Output) -> None:
        if type(value) is not int or not least <= value <= most:
            raise Refusal(expected, value)
        out += zigzag(value)

    def write_time(value: Any, out: Output) -> None:
        number = clock.integer(value) if clock is not None and type(value) is str else value
        if type(number) is not int or not least <= number <= most:
            raise Refusal(expected, value)
        out += zigzag(number)

    return write_time if texts and clock is not None else write


def floating(node: Primitive, *, exact: bool) -> Writer:
    """Return a writer for the nearest float. `exact`, for a union's first pass, accepts only lossless non-integers."""
    packed = FLOAT if node.tag == "float" else DOUBLE
    kinds = (NumberText, float) if exact else (NumberText, float, int)

    def write(value: Any, out: Output) -> None:
        try:
            if type(value) in kinds:
                number = float(value)
                if math.isinf(number) and type(value) is not float:
                    raise Refusal(node.tag, value)
                data = packed.pack(number)
                if exact and packed is FLOAT and FLOAT.unpack(data)[0] != number:
                    raise Refusal(node.tag, value)
            elif type(value) is str and not exact:
                data = packed.pack(SPECIAL[value])
            else:
                raise Refusal(node.tag, value)
        except (OverflowError, KeyError):
            raise Refusal(node.tag, value) from None
        out += data

    return write


def bytes_from(expected: str, *, latin1: bool) -> Callable[[Any], bytes]:
    """Return a decoder for padded base64 (RFC 4648, section 4), or for the specification's one character per byte."""
    expected = f"{expected} as {'Latin-1' if latin1 else 'base64'}"

    def read(value: Any) -> bytes:
        if type(value) is not str:
            raise Refusal(expected, value)
        try:
            data = value.encode("latin-1") if latin1 else base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise Refusal(expected, value) from None
        # Otherwise, stray bits after the last byte would be silently dropped (RFC 4648, section 3.5).
        if not latin1 and base64.b64encode(data) != value.encode():
            raise Refusal(expected, value)
        return data

    return read


def binary(node: Primitive | Fixed, logical: Logical | None, *, latin1: bool) -> Writer:
    """Return a writer for bytes or fixed, with the logical type `logical`; None writes the underlying type."""
    size = node.size if isinstance(node, Fixed) else None
    read = converter(node, logical, latin1=latin1)
    expected = f"{label(node)} of {size} bytes"
    grows = logical is not None and logical.name == "decimal"

    def write(value: Any, out: Output) -> None:
        data = read(value)
        if size is None:
            out += count(len(data))
        elif len(data) != size:
            raise Refusal(expected, value)
        out += data
        if grows:
            # 1e9999 takes only six characters, and a zero may fill the largest fixed.
            out.check()

    return write


def converter(node: Primitive | Fixed, logical: Logical | None, *, latin1: bool) -> Callable[[Any], bytes]:
    size = node.size if isinstance(node, Fixed) else None
    plain = bytes_from(node.tag if size is None else f"{label(node)} of {size} bytes", latin1=latin1)
    if logical is None:
        return plain
    if logical.name == "decimal":
        if latin1:
            return lambda value: decimals.of_text(value, logical, size, plain)
        return lambda value: decimals.to_bytes(decimals.unscaled(value, logical), size)
    if logical.name == "duration":
        return lambda value: durations.to_bytes(value, plain)
    return lambda value: bytes.fromhex(value.replace("-", "")) if _is_uuid(value) else plain(value)


def _is_uuid(value: Any) -> bool:
    return type(value) is str and UUID.fullmatch(value) is not None


def enumeration(node: Enum) -> Writer:
    places = {symbol: count(place) for place, symbol in enumerate(node.symbols)}
    expected = f"{node.tag} ({', '.join(node.symbols[:8])}{', …' if len(node.symbols) > 8 else ''})"

    def write(value: Any, out: Output) -> None:
        place = places.get(value) if type(value) is str else None
        if place is None:
            raise Refusal(expected, value)
        out += place

    return write


def refusing(node: Primitive | Fixed) -> Writer:
    """Return a writer that rejects everything: JSON has no type that matches bytes or fixed exactly."""

    def write(value: Any, out: Output) -> None:
        raise Refusal(label(node), value)

    return write
