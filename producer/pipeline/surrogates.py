"""Hide unpaired surrogates in a JSON text from the decoder, which would reject the whole text."""

import re
import secrets

import msgspec

_HALF = re.compile(
    rb"(?<!\\)((?:\\\\)*)"
    rb"(?:(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u([dD][89a-fA-F][0-9a-fA-F]{2}))"
)
_BYTE = re.compile(r" \(byte [0-9]+\)$")


class Hidden(msgspec.Struct, frozen=True):
    """A JSON text in which a marker replaces the `\\u` of each unpaired surrogate. The marker occurs nowhere else."""

    text: bytes
    marker: bytes

    def restore(self, part: bytes) -> bytes:
        """Return a part of the text as it was sent."""
        return part.replace(self.marker, b"\\u")

    def restore_words(self, words: str) -> str:
        """Return a message about the text, without the byte position, which would count the markers."""
        return _BYTE.sub("", words.replace(self.marker.decode(), "\\u"))

    def restore_string(self, decoded: str) -> str:
        """Return a decoded string with its unpaired surrogates restored, as characters that cannot be encoded."""
        return re.sub(f"{self.marker.decode()}(.{{4}})", lambda half: chr(int(half[1], 16)), decoded)


def hide(text: bytes) -> Hidden | None:
    """Return the text with its unpaired surrogates hidden, or None if it has none."""
    if b"\\ud" not in text and b"\\uD" not in text:
        return None
    marker = _unused(text)
    hidden, _ = _HALF.subn(lambda found: found[0] if found[2] else found[1] + marker + found[3], text)
    return None if hidden == text else Hidden(hidden, marker)


def _unused(text: bytes) -> bytes:
    # Only its first character is a tilde, so it cannot overlap with itself.
    while (marker := b"~" + secrets.token_hex(4).encode()) in text:
        pass
    return marker
