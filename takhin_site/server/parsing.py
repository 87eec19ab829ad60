"""Parse the bytes of a connection into requests with llhttp, Node.js's parser (httptools)."""

from typing import Any, Protocol

import httptools

from takhin_site.server import limits
from takhin_site.server.incoming import BadHead, Incoming


class BadBody(ValueError):
    """A chunked body is malformed."""


class TooManyWaiting(Exception):
    """The connection has too many pipelined requests. The earlier ones are complete."""


class Sink(Protocol):
    """The callbacks of a parser, in the order of each request."""

    def request_begins(self) -> None: ...
    def head_received(self, request: Incoming) -> None: ...
    def piece_received(self, request: Incoming, piece: bytes) -> None: ...
    def request_received(self, request: Incoming) -> None: ...


class Parser:
    """`receiving` is the request that has started and is not complete."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._now = 0.0
        self._parser: Any = httptools.HttpRequestParser(self)
        self.receiving: Incoming | None = None

    def feed(self, data: bytes, now: float) -> None:
        """Parse `data`. Raises BadHead, BadBody, and what the sink raises. After an error, do not feed it again."""
        self._now = now
        if (request := self.receiving) is not None:
            request.raw_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            raise self._translated(error) from None
        request = self.receiving
        if request is not None and not request.has_head and request.raw_bytes > limits.MAX_HEAD_BYTES:
            raise BadHead("the request head is too large", 431)

    def _feed(self, data: bytes) -> None:
        """Parse `data`, ignoring offers to upgrade, which Java's client sends with each request.

        RFC 9110, section 7.8, allows that. llhttp assumes that the other protocol follows such a head, so a new parser
        reads the body.
        """
        while (rest := self._fed(data)) is not None:
            data = rest
            framing = self._request().framing()
            self._parser = httptools.HttpRequestParser(self)
            self._parser.feed_data(framing)

    def _fed(self, data: bytes) -> bytes | None:
        """Parse `data`, and return the rest after an offer to upgrade, or None.

        The caller feeds the rest outside the `except`, or the upgrade would become the context of later errors.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return data[upgrade.args[0] :]
        return None

    def _translated(self, error: httptools.HttpParserError) -> Exception:
        cause = error.__context__
        if isinstance(error, httptools.HttpParserCallbackError) and isinstance(cause, Exception):
            return cause
        if self.receiving is not None and self.receiving.has_head:
            return BadBody(str(error))
        return BadHead("the request is not valid HTTP/1.1")

    def _request(self) -> Incoming:
        assert self.receiving is not None
        return self.receiving

    # llhttp's callbacks. For a request that already has its head, they come from the framing above or from the trailer
    # of a chunked body, which is ignored.

    def on_message_begin(self) -> None:
        if self.receiving is None:
            self._sink.request_begins()
            self.receiving = Incoming(self._now)

    def on_url(self, url: bytes) -> None:
        request = self._request()
        if request.has_head:
            return
        request.target += url
        if len(request.target) > limits.MAX_TARGET_BYTES:
            raise BadHead("the request target is too long", 414)

    def on_header(self, name: bytes, value: bytes) -> None:
        request = self._request()
        if request.has_head:
            return
        request.head_bytes += len(name) + len(value)
        request.field_count += 1
        if request.field_count > limits.MAX_FIELDS or request.head_bytes > limits.MAX_HEAD_BYTES:
            raise BadHead("the request has too many headers, or its headers are too large", 431)
        request.add_field(name, value)

    def on_headers_complete(self) -> None:
        request = self._request()
        if request.has_head:
            return
        request.end_head(self._parser.get_method().decode("latin-1"), self._parser.get_http_version())
        # Read it here, because the framing above does not have it.
        request.keep_alive = self._parser.should_keep_alive()
        request.began = request.rate_since = self._now
        self._sink.head_received(request)

    def on_body(self, piece: bytes) -> None:
        self._sink.piece_received(self._request(), piece)

    def on_message_complete(self) -> None:
        request = self._request()
        if self._parser.should_upgrade():
            return
        self.receiving = None
        request.is_complete = True
        self._sink.request_received(request)
