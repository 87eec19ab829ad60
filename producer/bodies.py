"""Turn a request's body as sent into the text that was meant, bounded in size at every step."""

import mmap
import zlib
from collections.abc import Callable

import cramjam
import msgspec
from django.conf import settings
from django.http import HttpRequest
from django.http.request import UnreadablePostError

from producer.errors import BodyTooLarge, InvalidBody, UnsupportedContentEncoding, UnsupportedContentType

JSON, NDJSON = "application/json", "application/x-ndjson"
# curl -d sends the form type unless told otherwise, so that a first curl without -H works.
CONTENT_TYPES = {"": JSON, JSON: JSON, "application/x-www-form-urlencoded": JSON, NDJSON: NDJSON}


class Body(msgspec.Struct, frozen=True):
    """A decoded body: its bytes, whether it is newline-delimited, and how many bytes were sent."""

    data: bytes
    ndjson: bool
    sent_bytes: int


def read(request: HttpRequest) -> Body:
    """The request's body, decoded. Raises BodyTooLarge, InvalidBody and the two Unsupported errors."""
    content_type = _content_type(request.META.get("CONTENT_TYPE", ""))
    encoding = request.META.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    decoder = DECODERS.get(encoding)
    if decoder is None:
        raise UnsupportedContentEncoding(encoding, ", ".join(name for name in DECODERS if name))
    sent = _read_bounded(request)
    data = decoder(sent, settings.TAKHIN_MAX_BODY_BYTES) if encoding else sent
    return Body(data, content_type == NDJSON, len(sent))


def _content_type(header: str) -> str:
    media_type, _, parameters = header.partition(";")
    known = CONTENT_TYPES.get(media_type.strip().lower())
    charset = parameters.lower().partition("charset=")[2].partition(";")[0].strip(' "')
    if known is None or charset not in ("", "utf-8", "utf8", "us-ascii"):
        raise UnsupportedContentType(header, ", ".join(name for name in CONTENT_TYPES if name))
    return known


def _read_bounded(request: HttpRequest) -> bytes:
    limit = settings.TAKHIN_MAX_BODY_BYTES
    try:
        declared = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        raise InvalidBody("Content-Length is not a number") from None
    if declared > limit:
        raise _too_large("sent", limit)
    try:
        body = request.body
    except UnreadablePostError:
        raise InvalidBody("the body ended before its Content-Length") from None
    if len(body) < declared:
        raise InvalidBody("the body ended before its Content-Length")
    return body


def _too_large(how: str, limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body as {how} may have at most {limit} bytes (TAKHIN_MAX_BODY_BYTES)")


def _corrupt(encoding: str) -> InvalidBody:
    return InvalidBody(f"the body is not valid {encoding}, as its Content-Encoding says")


def _inflate(encoding: str, window_bits: int) -> Callable[[bytes, int], bytes]:
    def decode(data: bytes, limit: int) -> bytes:
        decompressor = zlib.decompressobj(window_bits)
        try:
            text = decompressor.decompress(data, limit + 1)
        except zlib.error:
            raise _corrupt(encoding) from None
        if len(text) > limit:
            raise _too_large("decoded", limit)
        if not decompressor.eof or decompressor.unused_data:
            raise _corrupt(encoding)
        return text

    return decode


def _decompress_into(encoding: str, decompress: Callable[[bytes, memoryview], int]) -> Callable[[bytes, int], bytes]:
    def decode(data: bytes, limit: int) -> bytes:
        # An anonymous map takes memory only for the pages that are written.
        with mmap.mmap(-1, limit) as buffer, memoryview(buffer) as view:
            try:
                size = decompress(data, view)
            except cramjam.DecompressionError as error:
                # cramjam has one exception for both; this is how Rust says that the buffer is full.
                if "failed to write whole buffer" in str(error):
                    raise _too_large("decoded", limit) from None
                raise _corrupt(encoding) from None
            return buffer[:size]

    return decode


def _snappy(data: bytes, limit: int) -> bytes:
    """Both of snappy's forms: framed, and the raw block that Prometheus clients send."""
    if data.startswith(b"\xff\x06\x00\x00sNaPpY"):
        return _snappy_framed(data, limit)
    try:
        size = cramjam.snappy.decompress_raw_len(data)
        if size > limit:
            raise _too_large("decoded", limit)
        return bytes(cramjam.snappy.decompress_raw(data))
    except cramjam.DecompressionError:
        raise _corrupt("snappy") from None


_snappy_framed = _decompress_into("snappy", cramjam.snappy.decompress_into)

DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "": lambda data, limit: data,
    "identity": lambda data, limit: data,
    "gzip": _inflate("gzip", 31),
    "deflate": _inflate("deflate", zlib.MAX_WBITS),
    "zstd": _decompress_into("zstd", cramjam.zstd.decompress_into),
    "lz4": _decompress_into("lz4", cramjam.lz4.decompress_into),
    "snappy": _snappy,
}
