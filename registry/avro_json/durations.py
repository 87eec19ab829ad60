"""Convert durations to the twelve bytes that Avro stores, and back."""

import re
import struct
from collections.abc import Callable

from registry.avro_json.errors import Refusal

PARTS = ("months", "days", "milliseconds")
EXPECTED = "duration (months, days and milliseconds, ISO 8601, or 12 bytes)"
_PACKED = struct.Struct("<III")
_ISO = re.compile(
    r"P(?=[\dT])(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?"
    r"(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:[.,](\d+))?S)?)?",
    re.ASCII,
)


def to_bytes(value: object, plain: Callable[[str], bytes]) -> bytes:
    """Encode a duration. `plain` decodes the text form of the underlying fixed. Raises Refusal."""
    if type(value) is dict:
        return _packed(_members(value), value)
    if type(value) is not str:
        raise Refusal(EXPECTED, value)
    match = _ISO.fullmatch(value) if len(value) <= 100 else None
    return plain(value) if match is None else _packed(_iso(match.groups(), value), value)


def members_of(data: bytes) -> dict[str, int]:
    return dict(zip(PARTS, _PACKED.unpack(data), strict=True))


def _members(value: dict[str, object]) -> list[int]:
    numbers = []
    for part in PARTS:
        number = value.get(part, 0)
        if type(number) is not int:
            raise Refusal(f"a number of {part}", number, part)
        numbers.append(number)
    for key, member in value.items():
        if key not in PARTS:
            raise Refusal("months, days or milliseconds", member, key)
    return numbers


def _iso(parts: tuple[str | None, ...], text: str) -> list[int]:
    years, months, weeks, days, hours, minutes, seconds = (int(part or 0) for part in parts[:7])
    fraction = (parts[7] or "").rstrip("0")
    if len(fraction) > 3:
        raise Refusal("duration with at most 3 decimal places in the seconds", text)
    millis = ((hours * 60 + minutes) * 60 + seconds) * 1000 + int(fraction.ljust(3, "0"))
    return [years * 12 + months, weeks * 7 + days, millis]


def _packed(numbers: list[int], value: object) -> bytes:
    for part, number in zip(PARTS, numbers, strict=True):
        if not 0 <= number < 2**32:
            raise Refusal(f"duration with {part} from 0 to 4294967295", value)
    return _PACKED.pack(*numbers)
