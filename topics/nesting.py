"""Tell how deep a JSON text is nested, in time that grows with its length alone and without decoding it."""

from array import array
from itertools import accumulate

_SQUARE = bytes.maketrans(b"{}", b"[]")
_OTHERS = bytes(set(range(256)) - set(b'{}[]"'))
_STEPS = bytes.maketrans(b"[]", b"\x01\xff")
# Each takes the innermost level away, at the speed of C; nearly all JSON has fewer levels than this.
_PASSES = 8
# Splitting takes up to 30 times the text's memory.
_CHUNK = 1024 * 1024


def is_deeper(text: bytes, levels: int) -> bool:
    """Whether objects and arrays of this valid JSON text are nested in more than so many levels."""
    # Every level takes two brackets, and no text is deeper than its opening ones are many: this settles nearly all.
    if len(text) <= 2 * levels or text.count(b"{") + text.count(b"[") <= levels:
        return False
    brackets = _brackets(text)
    for _ in range(min(_PASSES, levels)):
        brackets = brackets.replace(b"[]", b"")
        levels -= 1
    return max(accumulate(array("b", brackets.translate(_STEPS))), default=0) > levels


def _brackets(text: bytes) -> bytes:
    """The brackets outside strings, all of them square."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two quotes in a row are an empty string, or the end of one and the beginning of another: both may go.
    return _outside_quotes(text.translate(_SQUARE, _OTHERS).replace(b'""', b""))


def _outside_quotes(text: bytes) -> bytes:
    parts, is_inside = [], False
    for start in range(0, len(text), _CHUNK):
        pieces = text[start : start + _CHUNK].split(b'"')
        parts.append(b"".join(pieces[is_inside::2]))
        is_inside ^= len(pieces) % 2 == 0
    return b"".join(parts)
