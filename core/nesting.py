"""Measure how deeply a JSON text is nested, in linear time and without decoding it."""

from array import array
from itertools import accumulate

from core.counting import count

_SQUARE = bytes.maketrans(b"{}", b"[]")
_OTHERS = bytes(set(range(256)) - set(b'{}[]"'))
_STEPS = bytes.maketrans(b"[]", b"\x01\xff")
# Each pass removes the innermost level, at the speed of C; nearly all JSON has fewer levels than this.
_PASSES = 8
# Splitting takes up to 30 times the memory of the text.
_CHUNK = 1024 * 1024


def is_deeper(text: bytes, levels: int) -> bool:
    """Tell whether a valid JSON text is nested more than `levels` deep."""
    # Each level takes two brackets, and the depth is at most the number of opening ones: this settles nearly all texts.
    if len(text) <= 2 * levels or count(text, b"{") + count(text, b"[") <= levels:
        return False
    brackets = _brackets(text)
    for _ in range(min(_PASSES, levels)):
        brackets = brackets.replace(b"[]", b"")
        levels -= 1
    return max(accumulate(array("b", brackets.translate(_STEPS))), default=0) > levels


def _brackets(text: bytes) -> bytes:
    """Return the brackets outside strings, with braces replaced by square brackets."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two adjacent quotes are an empty string, or the end of one string and the start of another: remove both.
    return _outside_quotes(text.translate(_SQUARE, _OTHERS).replace(b'""', b""))


def _outside_quotes(text: bytes) -> bytes:
    parts, is_inside = [], False
    for start in range(0, len(text), _CHUNK):
        pieces = text[start : start + _CHUNK].split(b'"')
        parts.append(b"".join(pieces[is_inside::2]))
        is_inside ^= len(pieces) % 2 == 0
    return b"".join(parts)
