"""Read and write JSON with msgspec. Every response under /api is JSON, whatever the client accepts."""

from typing import Any

import msgspec
from django.conf import settings
from django.http import HttpResponse
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from core import json_text
from core.api import bodies
from core.api.errors import InvalidBody
from core.nesting import is_deeper

_encode = msgspec.json.Encoder(enc_hook=str).encode
_decoder = msgspec.json.Decoder()


class MsgspecParser(BaseParser):
    """Parses small bodies, such as a new topic, with the same limits and decoding as produce requests."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        request = parser_context["request"]._request
        bodies.media_type(request.META.get("CONTENT_TYPE", ""), bodies.JSON_TYPES)
        body = bodies.read(request)
        try:
            if is_deeper(body.data, settings.TAKHIN_MAX_NESTING):
                raise InvalidBody(f"nested deeper than {settings.TAKHIN_MAX_NESTING} levels")
            return json_text.decode(_decoder, body.data)
        except json_text.InvalidJson as error:
            raise InvalidBody(str(error)) from None


class MsgspecRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return b"" if data is None else _encode(data)


def encoded(data: Any) -> HttpResponse:
    """Return a response that is rendered at once. Django REST framework's takes 5 % of a request with one record."""
    return HttpResponse(_encode(data), content_type=MsgspecRenderer.media_type)


class AlwaysJson(BaseContentNegotiation):
    """Always selects JSON, so that an error never becomes HTML."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type
