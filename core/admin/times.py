"""Show times the same way on every page: relative, with the time in UTC on hover."""

from datetime import UTC, datetime

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from core.formatting import instant

_UNITS = ((1, 60, "s"), (60, 60, "min"), (3600, 48, "h"), (86_400, 100_000, "days"))


def ago(at: datetime | None) -> SafeString:
    """Return a time as HTML, such as "5 min ago"."""
    if at is None:
        return SafeString()
    text = instant(at)
    return format_html(
        '<time class="takhin-nowrap" datetime="{}" title="{}">{}</time>', at.isoformat(), text, relative(at)
    )


def ago_ms(milliseconds: int) -> SafeString | str:
    """Return a timestamp as `ago` does. Kafka accepts any 64-bit integer."""
    try:
        return ago(datetime.fromtimestamp(milliseconds / 1000, UTC))
    except (OverflowError, ValueError):
        return f"{milliseconds} ms"


def relative(at: datetime) -> str:
    seconds = (timezone.now() - at).total_seconds()
    amount = _amount(abs(seconds))
    return f"in {amount}" if seconds < 0 else f"{amount} ago"


def _amount(seconds: float) -> str:
    size, _, unit = next(one for one in _UNITS if seconds < one[0] * one[1])
    return f"{int(seconds // size)} {unit}"
