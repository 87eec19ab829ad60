"""Turn numbers, and texts of numbers, into unscaled integers and back: never rounded."""

import re
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation

from producer.avro.errors import Refusal
from producer.avro.nodes import Logical
from producer.avro.values import Words

_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d{1,9})?", re.ASCII)
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation])
# A schema may allow any precision, and 1e999999999 is a short text: about 4 kB of binary is more than enough.
MOST_DIGITS = 10_000


def unscaled(value: object, logical: Logical) -> int:
    """The integer that `value` is at the schema's scale: 1.5 at scale 2 is 150."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise Refusal(str(logical), value)
    text = str(value)
    if _NUMBER.fullmatch(text) is None:
        raise Refusal(str(logical), value)
    number = Decimal(text)
    if not number:
        return 0
    if number.adjusted() + 1 + logical.scale > min(logical.precision, MOST_DIGITS):
        raise Refusal(f"{logical}, so at most {logical.precision - logical.scale} digits before the point", value)
    try:
        return int(_EXACT.to_integral_exact(_EXACT.scaleb(number, logical.scale)))
    except Inexact:
        raise Refusal(f"{logical}, so at most {logical.scale} digits after the point", value) from None


def to_bytes(number: int, size: int | None) -> bytes:
    """Two's complement, big-endian: the shortest, or `size` bytes, which the schema's precision fits."""
    magnitude = number if number >= 0 else ~number
    return number.to_bytes(magnitude.bit_length() // 8 + 1 if size is None else size, "big", signed=True)


def text_of(data: bytes, logical: Logical) -> str:
    """All the digits of the scale, so that equal numbers have equal texts."""
    number = int.from_bytes(data, "big", signed=True)
    if number.bit_length() > MOST_DIGITS * 4:
        raise Refusal(str(logical), Words(f"a number of {number.bit_length()} bits"))
    # Decimal renders what str(int) refuses, more than 4300 digits.
    digits = format(Decimal(abs(number)), "f").rjust(logical.scale + 1, "0")
    sign = "-" if number < 0 else ""
    return f"{sign}{digits[: -logical.scale]}.{digits[-logical.scale :]}" if logical.scale else sign + digits
