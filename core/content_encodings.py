"""Decode a Content-Encoding, never producing more bytes than a limit."""

import mmap
import zlib
from collections.abc import Callable

import cramjam

Decoder = Callable[[bytes, int], bytes]
# A member costs zlib 3 microseconds and the sender 20 bytes. Without this limit, one body could take 1.5 s, not 30 ms.
MAX_GZIP_MEMBERS = 10_000
GZIP_MEMBER = b"\x1f\x8b\x08"
SNAPPY_FRAMES = b"\xff\x06\x00\x00sNaPpY"


class UnsupportedEncoding(Exception):
    """The encoding is not supported; the message lists those that are."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self.supported = ", ".join(DECODERS)
        super().__init__(f"Content-Encoding {encoding[:100]!r} is not one of {self.supported}")


class CorruptEncoding(Exception):
    """The data is invalid, truncated or has trailing bytes."""

    def __init__(self, encoding: str) -> None:
        super().__init__(f"the body is not valid {encoding}, which its Content-Encoding declares")


class DecodedTooLarge(Exception):
    """The data decodes to more than the limit."""


def decoder(encoding: str) -> Decoder:
    """Return the decoder of a content coding; an empty name means identity. Raises UnsupportedEncoding.

    The decoder takes the data and the maximum decoded size in bytes, and raises CorruptEncoding and DecodedTooLarge.
    """
    name = encoding.strip().lower() or "identity"
    if name not in DECODERS:
        raise UnsupportedEncoding(name)
    return DECODERS[name]


def _inflate(data: bytes, limit: int) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        text = decompressor.decompress(data, limit + 1)
    except zlib.error:
        raise CorruptEncoding("deflate") from None
    if len(text) > limit:
        raise DecodedTooLarge
    if not decompressor.eof or decompressor.unused_data:
        raise CorruptEncoding("deflate")
    return text


def _decompress_into(encoding: str, decompress: Callable[[bytes, memoryview], int]) -> Decoder:
    def decode(data: bytes, limit: int) -> bytes:
        # An anonymous map uses memory only for pages that are written to.
        with mmap.mmap(-1, limit) as buffer, memoryview(buffer) as view:
            try:
                size = decompress(data, view)
            except cramjam.DecompressionError as error:
                # cramjam raises the same exception for both; this is Rust's message for a full buffer.
                if "failed to write whole buffer" in str(error):
                    raise DecodedTooLarge from None
                raise CorruptEncoding(encoding) from None
            return buffer[:size]

    return decode


def _gzip(data: bytes, limit: int) -> bytes:
    """Decode one or more gzip members (RFC 1952, section 2.2)."""
    if data.count(GZIP_MEMBER) > MAX_GZIP_MEMBERS:
        raise CorruptEncoding(f"gzip with at most {MAX_GZIP_MEMBERS} members")
    return _gzip_members(data, limit)


def _snappy(data: bytes, limit: int) -> bytes:
    """Decode either form of snappy: framed, or the raw block that Prometheus clients send."""
    if data.startswith(SNAPPY_FRAMES):
        return _snappy_framed(data, limit)
    try:
        size = cramjam.snappy.decompress_raw_len(data)
        if size > limit:
            raise DecodedTooLarge
        return bytes(cramjam.snappy.decompress_raw(data))
    except cramjam.DecompressionError:
        raise CorruptEncoding("snappy") from None


_gzip_members = _decompress_into("gzip", cramjam.gzip.decompress_into)
_snappy_framed = _decompress_into("snappy", cramjam.snappy.decompress_into)

DECODERS: dict[str, Decoder] = {
    "identity": lambda data, limit: data,
    "gzip": _gzip,
    # RFC 9110, section 8.4.1.3.
    "x-gzip": _gzip,
    "deflate": _inflate,
    "zstd": _decompress_into("zstd", cramjam.zstd.decompress_into),
    "lz4": _decompress_into("lz4", cramjam.lz4.decompress_into),
    "snappy": _snappy,
}
