"""Decode JSON text without losing digits, and render shortened values for messages."""

from collections.abc import Iterator

import msgspec

MOST_SHOWN = 60


class NumberText(str):
    """A JSON number with a fraction or an exponent, as it was written."""

    __slots__ = ()


class Description(str):
    """A description of what was found instead of a JSON value, such as the end of the data."""

    __slots__ = ()


NOTHING = Description("nothing")

# Integers of any length decode to int, other numbers to their text, because decimals must not be rounded.
decoder = msgspec.json.Decoder(float_hook=NumberText)


def shown(value: object) -> str:
    """Return the value as JSON, cut after about sixty characters without rendering the rest."""
    text = ""
    for piece in _pieces(value, 0):
        text += piece
        if len(text) > MOST_SHOWN:
            return f"{text[:MOST_SHOWN]}…"
    return text


def _pieces(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, NumberText | Description):
        yield value
    elif isinstance(value, str):
        yield msgspec.json.encode(value[: MOST_SHOWN + 1]).decode()
    elif isinstance(value, dict | list) and depth > MOST_SHOWN:
        # At this depth, the brackets alone fill the line.
        yield "…"
    elif isinstance(value, dict):
        yield "{"
        for place, (key, member) in enumerate(value.items()):
            yield f"{', ' if place else ''}{msgspec.json.encode(key[: MOST_SHOWN + 1]).decode()}: "
            yield from _pieces(member, depth + 1)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for place, item in enumerate(value):
            yield ", " if place else ""
            yield from _pieces(item, depth + 1)
        yield "]"
    else:
        yield msgspec.json.encode(value).decode()
