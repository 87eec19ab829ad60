"""Convert ISO 8601 dates, times and timestamps to the integers that Avro stores, and back."""

import re
from datetime import date

from registry.avro_json.errors import Refusal

_DATE = r"(\d{4})-(\d\d)-(\d\d)"
_TIME = r"(\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?"
_ZONE = r"(?:([Zz])|([+-])(\d\d)(?::?(\d\d))?)"
_FORMS = {
    "date": re.compile(_DATE, re.ASCII),
    "time": re.compile(_TIME, re.ASCII),
    "timestamp": re.compile(f"{_DATE}[Tt ]{_TIME}{_ZONE}", re.ASCII),
    "local-timestamp": re.compile(f"{_DATE}[Tt ]{_TIME}", re.ASCII),
}
_HINTS = {
    "date": "date (ISO 8601 or days since 1970)",
    "time": "{name} (ISO 8601 or an integer)",
    "timestamp": "{name} (ISO 8601 with a zone such as Z, or an integer)",
    "local-timestamp": "{name} (ISO 8601 without a zone, or an integer)",
}
_PLACES = {"millis": 3, "micros": 6, "nanos": 9}
_EPOCH = date(1970, 1, 1).toordinal()
_DAY = 86_400


class Clock:
    """Converts one of the date and time types."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._form, _, unit = name.rpartition("-") if name != "date" else ("date", "", "")
        self._places = _PLACES.get(unit, 0)
        self._unit: int = 10**self._places
        self._pattern = _FORMS[self._form]
        self.expected = _HINTS[self._form].format(name=name)

    def integer(self, text: str) -> int:
        """Return the integer that the text stands for. Raises Refusal for more digits than the unit has."""
        match = self._pattern.fullmatch(text)
        if match is None:
            raise Refusal(self.expected, text)
        parts = match.groups()
        if self._form == "date":
            return self._days(parts, text)
        if self._form == "time":
            return self._time(parts, text)
        whole = self._days(parts, text) * _DAY * self._unit + self._time(parts[3:], text)
        return whole if self._form == "local-timestamp" else whole - self._offset(parts[7:], text) * self._unit

    def text(self, number: int) -> str | int:
        """Return ISO 8601 with all digits of the unit, or the integer itself if it has no year or hour."""
        if self._form == "date":
            return self._date_text(number) or number
        days, rest = divmod(number, _DAY * self._unit)
        seconds, fraction = divmod(rest, self._unit)
        minutes, second = divmod(seconds, 60)
        clock = f"{minutes // 60:02}:{minutes % 60:02}:{second:02}.{fraction:0{self._places}}"
        if self._form == "time":
            return number if days else clock
        day = self._date_text(days)
        return f"{day}T{clock}{'Z' if self._form == 'timestamp' else ''}" if day else number

    def _days(self, parts: tuple[str, ...], text: str) -> int:
        try:
            return date(int(parts[0]), int(parts[1]), int(parts[2])).toordinal() - _EPOCH
        except ValueError:
            raise Refusal(self.expected, text) from None

    def _time(self, parts: tuple[str, ...], text: str) -> int:
        hour, minute, second = int(parts[0]), int(parts[1]), int(parts[2] or 0)
        if hour > 23 or minute > 59 or second > 59:
            raise Refusal(self.expected, text)
        digits = (parts[3] or "").rstrip("0")
        if len(digits) > self._places:
            raise Refusal(f"{self.name} with at most {self._places} decimal places in the seconds", text)
        return (hour * 3600 + minute * 60 + second) * self._unit + int(digits.ljust(self._places, "0"))

    def _offset(self, parts: tuple[str, ...], text: str) -> int:
        if parts[0]:
            return 0
        hours, minutes = int(parts[2]), int(parts[3] or 0)
        if hours > 23 or minutes > 59:
            raise Refusal(self.expected, text)
        seconds = hours * 3600 + minutes * 60
        return -seconds if parts[1] == "-" else seconds

    def _date_text(self, days: int) -> str:
        try:
            return date.fromordinal(days + _EPOCH).isoformat()
        except (ValueError, OverflowError):
            return ""
