"""Render a record's bytes for display."""

import base64

import msgspec

from topics.decoders import Decoder, Undecoded, new_decoder

SHOWN = 4096
PREVIEWED = 160
DUMPED = 512
# Longer JSON is shown without indentation: indenting all of it costs more than the rest of the page.
MOST_INDENTED = 64 * 1024


class Shown(msgspec.Struct, frozen=True):
    """Bytes for display: `text` is rendered as `kind` says; `exact` is the text as stored, if that differs."""

    kind: str
    text: str
    size: int
    is_cut: bool = False
    exact: str = ""
    is_exact_cut: bool = False
    hex: str = ""

    @property
    def preview(self) -> str:
        """The beginning, in one line."""
        return " ".join((self.exact or self.text)[: 4 * PREVIEWED].split())[:PREVIEWED]


def show(data: bytes | None, decoder: Decoder | None = None) -> Shown:
    """Render bytes for display, and as a hex dump of at most DUMPED bytes."""
    shown = _show(data, decoder)
    return msgspec.structs.replace(shown, hex=hex_dump(data[:DUMPED])) if data else shown


def hex_dump(data: bytes) -> str:
    """Return sixteen bytes per line: their offset, their values, and those that are printable ASCII."""
    lines = []
    for start in range(0, len(data), 16):
        part = data[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:04x}  {part.hex(' '):<47}  {text}")
    return "\n".join(lines)


def _show(data: bytes | None, decoder: Decoder | None = None) -> Shown:
    """Render bytes with a schema as JSON, UTF-8 as text, and the rest as base64; at most SHOWN characters."""
    if data is None:
        return Shown("null", "", 0)
    if (decoded := _decoded(data, decoder or new_decoder())) is not None:
        return decoded
    try:
        text = data.decode()
    except UnicodeDecodeError:
        # Base64 turns three bytes into four characters.
        encoded = base64.b64encode(data[: SHOWN // 4 * 3]).decode()
        return Shown("base64", encoded, len(data), len(data) > SHOWN // 4 * 3)
    indented = _indented(data)
    if indented is None or indented == text:
        return Shown("text" if indented is None else "JSON", text[:SHOWN], len(data), len(text) > SHOWN)
    return Shown(
        "JSON, indented",
        indented[:SHOWN],
        len(data),
        len(indented) > SHOWN,
        exact=text[:SHOWN],
        is_exact_cut=len(text) > SHOWN,
    )


def _decoded(data: bytes, decoder: Decoder) -> Shown | None:
    try:
        decoded = decoder.decode(data)
    except Undecoded:
        return None
    if decoded is None:
        return None
    shown = _indented(decoded.text.encode()) or decoded.text
    return Shown(
        f"{decoded.format.capitalize()} with schema {decoded.schema_id}", shown[:SHOWN], len(data), len(shown) > SHOWN
    )


def _indented(data: bytes) -> str | None:
    """Return JSON with whitespace added between its tokens; None if it is not JSON or too long."""
    if not data or len(data) > MOST_INDENTED:
        return None
    try:
        return msgspec.json.format(data, indent=2).decode()
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
