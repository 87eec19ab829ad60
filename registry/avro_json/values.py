"""Read JSON text without losing a digit, and show a value shortened."""

from collections.abc import Iterator

import msgspec

MOST_SHOWN = 60


class NumberText(str):
    """A JSON number with a fraction or an exponent, as its digits stood in the text."""

    __slots__ = ()


class Words(str):
    """What was found where there is no JSON value to show, such as the end of the data."""

    __slots__ = ()


NOTHING = Words("nothing")

# Whole numbers come as int whatever their length; all others as their text, for decimals must not round.
decoder = msgspec.json.Decoder(float_hook=NumberText)


def shown(value: object) -> str:
    """The value as JSON, cut after about sixty characters without rendering the rest."""
    text = ""
    for piece in _pieces(value, 0):
        text += piece
        if len(text) > MOST_SHOWN:
            return f"{text[:MOST_SHOWN]}…"
    return text


def _pieces(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, NumberText | Words):
        yield value
    elif isinstance(value, str):
        yield msgspec.json.encode(value[: MOST_SHOWN + 1]).decode()
    elif isinstance(value, dict | list) and depth > MOST_SHOWN:
        # Deeper than this every piece is one bracket, and they alone fill the line.
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
