"""Read and decode a request's body, with its size bounded at every step."""

import msgspec
from django.conf import settings
from django.http import HttpRequest
from django.http.request import UnreadablePostError

from core import content_encodings, json_text
from core.api.errors import BodyTooLarge, InvalidBody, UnsupportedContentEncoding, UnsupportedContentType

JSON, NDJSON = "application/json", "application/x-ndjson"
CONTENT_TYPES = {
    "": JSON,
    JSON: JSON,
    "text/json": JSON,
    # curl -d sends the form type by default. Accepting it makes a first curl without -H work.
    "application/x-www-form-urlencoded": JSON,
    # navigator.sendBeacon sends strings as text/plain, which needs no preflight for another origin.
    "text/plain": JSON,
    NDJSON: NDJSON,
    "application/ndjson": NDJSON,
    "application/jsonl": NDJSON,
    "application/jsonlines": NDJSON,
    "application/x-jsonlines": NDJSON,
}
CHARSETS = ("", "utf-8", "utf8", "us-ascii")


class Body(msgspec.Struct, frozen=True):
    """A decoded body: its bytes, whether it is newline-delimited, and how many bytes were sent."""

    data: bytes
    ndjson: bool
    sent_bytes: int


def read(request: HttpRequest) -> Body:
    """Return the decoded body in UTF-8.

    Raises BodyTooLarge, InvalidBody, UnsupportedContentEncoding, UnsupportedContentType.
    """
    content_type = _content_type(request.META.get("CONTENT_TYPE", ""))
    data, sent_bytes = decoded(request)
    return Body(data, content_type == NDJSON, sent_bytes)


def decoded(request: HttpRequest) -> tuple[bytes, int]:
    """Return the decoded body in UTF-8, and how many bytes were sent.

    Raises BodyTooLarge, InvalidBody, UnsupportedContentEncoding.
    """
    encoding = request.META.get("HTTP_CONTENT_ENCODING", "")
    try:
        decoder = content_encodings.decoder(encoding)
    except content_encodings.UnsupportedEncoding as error:
        raise UnsupportedContentEncoding(error.encoding, error.supported) from None
    sent = _read_bounded(request)
    limit = settings.TAKHIN_MAX_BODY_BYTES
    try:
        data = json_text.utf8(decoder(sent, limit))
    except content_encodings.DecodedTooLarge:
        raise _too_large("decoded", limit) from None
    except (content_encodings.CorruptEncoding, json_text.InvalidJson) as error:
        raise InvalidBody(str(error)) from None
    return data, len(sent)


def _content_type(header: str) -> str:
    media_type, _, parameters = header.partition(";")
    known = CONTENT_TYPES.get(media_type.strip().lower())
    charset = parameters.lower().partition("charset=")[2].partition(";")[0].strip(' "')
    if known is None or charset not in CHARSETS:
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
    return BodyTooLarge(f"the body exceeds {limit} bytes as {how} (TAKHIN_MAX_BODY_BYTES)")
