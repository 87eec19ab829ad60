"""Read and decode a request's body, with its size bounded at every step."""

from collections.abc import Collection

import msgspec
from django.conf import settings
from django.http import HttpRequest
from django.http.request import UnreadablePostError

from core import content_encodings, json_text, turns
from core.api.errors import BodyTooLarge, InvalidBody, UnsupportedContentEncoding, UnsupportedContentType

# The first one is JSON's own (RFC 8259).
JSON_TYPES = (
    "application/json",
    "",
    "text/json",
    # curl -d sends the form type by default. Accepting it makes a first curl without -H work.
    "application/x-www-form-urlencoded",
    # navigator.sendBeacon sends strings as text/plain, which needs no preflight for another origin.
    "text/plain",
)
CHARSETS = ("", "utf-8", "utf8", "us-ascii")


class Body(msgspec.Struct, frozen=True):
    """A decoded body in UTF-8, and how many bytes were sent."""

    data: bytes
    sent_bytes: int


def read(request: HttpRequest) -> Body:
    """Return the decoded body. Raises BodyTooLarge, InvalidBody, UnsupportedContentEncoding."""
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
    turns.give_way()
    return Body(data, len(sent))


def media_type(content_type: str, accepted: Collection[str]) -> str:
    """Return the media type of a Content-Type header, in lower case. Raises UnsupportedContentType."""
    name, _, parameters = content_type.partition(";")
    name = name.strip().lower()
    charset = parameters.lower().partition("charset=")[2].partition(";")[0].strip(' "')
    if name not in accepted or charset not in CHARSETS:
        raise UnsupportedContentType(content_type, ", ".join(filter(None, accepted)))
    return name


def _read_bounded(request: HttpRequest) -> bytes:
    limit = settings.TAKHIN_MAX_BODY_BYTES
    try:
        declared = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        raise InvalidBody("Content-Length is not a number") from None
    if declared > limit:
        raise _too_large("sent", limit)
    try:
        body = request.read()
    except UnreadablePostError:
        raise InvalidBody("the body ended before its Content-Length") from None
    if len(body) < declared:
        raise InvalidBody("the body ended before its Content-Length")
    return body


def _too_large(how: str, limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body exceeds {limit} bytes as {how} (TAKHIN_MAX_BODY_BYTES)")
