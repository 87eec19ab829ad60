"""Parse durations given on the command line."""

import argparse
import re
from datetime import timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str) -> timedelta:
    """Parse a number followed by s, m, h or d, such as `90s`, `30m`, `24h` or `7d`. Raises ArgumentTypeError."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number with a unit (s, m, h or d), such as 30m")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
