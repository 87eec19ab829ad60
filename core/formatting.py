"""Format durations and timestamps for display."""

from datetime import UTC, datetime, timedelta

_UNITS = (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1000), ("millisecond", 1))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def span(milliseconds: int) -> str:
    """Format a duration in the largest unit that divides it."""
    unit, size = next((unit, size) for unit, size in _UNITS if milliseconds % size == 0)
    count = milliseconds // size
    return f"{count:,} {unit}" if count == 1 else f"{count:,} {unit}s"


def length(duration: timedelta) -> str:
    """Format a duration of whole seconds in the largest unit that divides it."""
    return span(int(duration.total_seconds()) * 1000)


def moment(milliseconds: int) -> str:
    """Format a timestamp as UTC, or "" if it is out of range: Kafka accepts any 64-bit integer."""
    try:
        found = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return ""
    return instant(found)


def instant(at: datetime) -> str:
    """Format a time in UTC, to the millisecond."""
    return at.strftime("%Y-%m-%d %H:%M:%S.") + f"{at.microsecond // 1000:03d} UTC"
