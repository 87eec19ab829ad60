"""Parse durations, in settings and on the command line."""

import argparse
import re
from datetime import timedelta

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds_of(text: str) -> int | None:
    """Return the seconds of a number followed by s, m, h or d, such as `90s`, or None for other text."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    return int(match[1]) * SECONDS[match[2]] if match else None


def parse_duration(text: str) -> timedelta:
    """Parse a duration on the command line, such as `90s`, `30m`, `24h` or `7d`. Raises ArgumentTypeError."""
    seconds = seconds_of(text)
    if seconds is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number with a unit (s, m, h or d), such as 30m")
    return timedelta(seconds=seconds)
