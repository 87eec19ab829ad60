"""Convert numbers, and strings of numbers, to unscaled integers and back, without rounding."""

import re
from collections.abc import Callable
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation

from registry.avro_json.errors import Refusal
from registry.avro_json.limits import MOST_DIGITS
from registry.avro_json.nodes import Logical
from registry.avro_json.values import Description

_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d{1,9})?", re.ASCII)
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation])


def unscaled(value: object, logical: Logical) -> int:
    """Return `value` as an integer at the schema's scale: 1.5 at scale 2 is 150. Raises Refusal."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise Refusal(str(logical), value)
    text = str(value)
    if _NUMBER.fullmatch(text) is None:
        raise Refusal(str(logical), value)
    number = Decimal(text)
    if not number:
        return 0
    if number.adjusted() + 1 + logical.scale > logical.precision:
        raise Refusal(f"{logical} with at most {logical.precision - logical.scale} digits before the point", value)
    try:
        return int(_EXACT.to_integral_exact(_EXACT.scaleb(number, logical.scale)))
    except Inexact:
        raise Refusal(f"{logical} with at most {logical.scale} digits after the point", value) from None


def to_bytes(number: int, size: int | None) -> bytes:
    """Encode as big-endian two's complement, in the fewest bytes or in `size` bytes, which must fit the number."""
    magnitude = number if number >= 0 else ~number
    return number.to_bytes(magnitude.bit_length() // 8 + 1 if size is None else size, "big", signed=True)


def of_text(value: object, logical: Logical, size: int | None, plain: Callable[[str], bytes]) -> bytes:
    """Encode a string as the bytes it stands for (the specification's JSON encoding), and a number by its value."""
    if type(value) is not str:
        return to_bytes(unscaled(value, logical), size)
    data = plain(value)
    # Four bits hold any digit, so a longer value exceeds the precision.
    if not data or (len(data) * 8 > logical.precision * 4 + 8 and size is None):
        raise Refusal(str(logical), value)
    if abs(int.from_bytes(data, "big", signed=True)) >= 10**logical.precision:
        raise Refusal(f"{logical} with at most {logical.precision} digits", value)
    return data


def text_of(data: bytes, logical: Logical) -> str:
    """Return the number with all digits of its scale, so that equal numbers have equal texts. Raises Refusal."""
    number = int.from_bytes(data, "big", signed=True)
    if number.bit_length() > MOST_DIGITS * 4:
        raise Refusal(str(logical), Description(f"a number of {number.bit_length()} bits"))
    # Decimal can render more than 4300 digits; str(int) cannot.
    digits = format(Decimal(abs(number)), "f").rjust(logical.scale + 1, "0")
    sign = "-" if number < 0 else ""
    return f"{sign}{digits[: -logical.scale]}.{digits[-logical.scale :]}" if logical.scale else sign + digits
