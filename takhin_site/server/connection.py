"""A client's connection: requests come in, and responses go out in the same order. Nothing waits forever."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from core.wakeups import Waiting
from takhin_site.server import answers, limits
from takhin_site.server.answers import Answer, Result
from takhin_site.server.flood import is_produce_request
from takhin_site.server.incoming import BadHead, Incoming
from takhin_site.server.parsing import BadBody, Parser, TooManyWaiting
from takhin_site.server.probing import probe

if TYPE_CHECKING:
    from takhin_site.server.serving import Server


class Connection(asyncio.Protocol):
    """`receiving` is the arriving request, `ready` are those that wait, and `working` is the one being processed.

    The application processes a request when it is complete. An incomplete request is checked up to its body, so that a
    request that would be rejected anyway is rejected without waiting for its body.
    """

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.transport: Any = None
        self.client = ""
        self.base: dict[str, Any] = {}
        # A request that ends receiving: its head is invalid, or its body was cut short.
        self.rejected: Incoming | None = None
        self.ready: deque[Incoming] = deque()
        self.working: Incoming | None = None
        # Drop all further input: the connection closes after the next response.
        self.is_deaf = False
        self.is_at_end = False
        self.is_full = False
        self.is_lingering = False
        self.has_served = False
        self.since = server.now()
        self.heard = self.since
        self.unsent = 0
        self._parser: Parser | None = Parser(self)

    # Callbacks of the event loop

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        peer = transport.get_extra_info("peername") or ("", 0)
        self.client = str(peer[0])
        self.base = {**self.server.base_environ, "REMOTE_ADDR": self.client, "REMOTE_PORT": str(peer[1])}
        self.server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.working is not None:
            self._forget(self.working)
            self.working = None
        self._drop_rest()
        self.transport = None
        self.server.closed(self)

    def data_received(self, data: bytes) -> None:
        self.heard = self.server.now()
        if self.is_deaf or self._parser is None or self._is_refused():
            return
        if self._is_flooded() and is_produce_request(data):
            self._reject()
            return
        try:
            self._parser.feed(data, self.heard)
        except BadHead as error:
            self.reject(error)
        except BadBody:
            self._cut()
        except TooManyWaiting:
            self._end_receiving()
        else:
            self._bound()
        self.advance()

    def _is_flooded(self) -> bool:
        """Whether the arriving data begins a request that may be rejected before it is parsed."""
        if not self.server.admission.is_flooded or self.server.is_stopping:
            return False
        return not (self.working or self.ready or self.receiving or self.is_full or self.unsent)

    def _is_refused(self) -> bool:
        """Whether the arriving data belongs to a request that has already been refused."""
        return self.receiving is not None and self.receiving.refusal is not None

    def _bound(self) -> None:
        """Limit the memory of the arriving request: by the server's total, and until its key has been checked."""
        request = self.receiving
        if request is None or request.refusal is not None:
            return
        if request.raw_bytes > 2 * request.size + limits.MAX_FRAMING_BYTES:
            self.refuse(request, "too_many_chunks")
        elif request.size and not self.server.memory.hold(request):
            self.refuse(request, "overloaded")
        elif request.size > limits.UNCHECKED_BODY_BYTES and not request.is_checked:
            self.transport.pause_reading()

    @property
    def receiving(self) -> Incoming | None:
        """The arriving request, or the rejected one."""
        if self.rejected is not None:
            return self.rejected
        return None if self._parser is None else self._parser.receiving

    def eof_received(self) -> bool:
        """A client that has finished sending may still read. One that stopped within a request gets a 400."""
        self.is_at_end = True
        if self.is_lingering:
            return False
        self._cut()
        self.advance()
        if self.working is not None:
            self.server.loop.call_later(limits.PROBE_SECONDS, probe, self, self.working)
        return self.working is not None or bool(self.ready) or self.unsent > 0

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        # Restart the deadline for the rest of the response.
        self.since = self.server.now()
        self.server.memory.sending(self, self.transport.get_write_buffer_size())
        self.advance()

    # Callbacks of the parser

    def request_begins(self) -> None:
        if len(self.ready) >= limits.MAX_PIPELINED:
            raise TooManyWaiting

    def head_received(self, request: Incoming) -> None:
        self.server.busy(self)

    def piece_received(self, request: Incoming, piece: bytes) -> None:
        if request.refusal is not None:
            return
        request.add(piece)
        if request.size > self.server.max_body_bytes:
            self.refuse(request, "body_too_large")
        elif request.pieces > limits.FREE_CHUNKS + request.size // limits.MIN_CHUNK_BYTES:
            self.refuse(request, "too_many_chunks")

    def request_received(self, request: Incoming) -> None:
        if request.refusal is None and not self.server.memory.hold(request):
            self.refuse(request, "overloaded")
        self.ready.append(request)
        if len(self.ready) > 1 or self.working not in (None, request):
            self.transport.pause_reading()

    # Steps

    def advance(self) -> None:
        """Process requests in order, as far as possible now."""
        while self.working is None and not (self.is_full or self.is_lingering or self.transport is None):
            request = self.ready[0] if self.ready else self.receiving
            if request is None:
                if self.is_at_end or self.is_deaf:
                    self.transport.close()
                return
            if not (request.is_complete or request.refusal or self._is_to_be_checked(request)):
                return
            self.working = request
            if request.is_complete:
                self.ready.popleft()
            result = self.server.start(self, request)
            if result is not None:
                self._take(request, result)

    def _is_to_be_checked(self, request: Incoming) -> bool:
        """Whether to check an arriving request now. Not if the rest of it may arrive at any moment."""
        if not request.has_head or request.is_checked:
            return False
        if request.expects_continue or request.size > limits.UNCHECKED_BODY_BYTES:
            return True
        left = request.began + limits.CHECK_SECONDS - self.server.now()
        if left > 0:
            self.server.loop.call_later(left, self.advance)
        return left <= 0

    def finish(self, request: Incoming, result: Result) -> None:
        """Handle the result of running the application for `request`, and go on."""
        if self.transport is None:
            self._forget(request)
            return
        self._take(request, result)
        self.advance()

    def _take(self, request: Incoming, result: Result) -> None:
        if isinstance(result, Waiting):
            self.server.wait(self, request, result)
            return
        self.working = None
        if isinstance(result, Answer):
            self._send(request, result)
        else:
            self._go_on_receiving(request)

    def _go_on_receiving(self, request: Incoming) -> None:
        request.is_checked = True
        if request.is_complete or request.refusal is not None:
            return
        if (request.declared or 0) > self.server.max_body_bytes:
            self.refuse(request, "body_too_large")
            return
        if reason := self.server.admission.objection_to_rest(request, self.server.now()):
            self._send(request, self.server.admission.reject(self.client, request, reason))
            return
        if request.expects_continue and not request.size:
            self.transport.write(answers.CONTINUE)
        request.began = request.rate_since = self.server.now()
        self._resume()

    def _send(self, request: Incoming, answer: Answer) -> None:
        is_whole = request.is_complete and request.refusal is None
        stays = is_whole and request.keep_alive and not self._is_last()
        head = answers.head(answer, version=request.version, keep_alive=stays)
        has_body = request.method != "HEAD" and not answer.status.startswith(answers.WITHOUT_BODY)
        self._write([head, answer.body] if has_body else [head])
        self._forget(request)
        if request in self.ready:
            self.ready.remove(request)
        if stays:
            if not self.ready and self.receiving is None:
                self.server.idle(self)
            self._resume()
        elif is_whole and not (self.is_deaf or self.ready or self.receiving):
            self._drop_rest()
            self.transport.close()
        else:
            self._linger()

    def _reject(self) -> None:
        """Respond to a request of a flood, which was not parsed."""
        answer = self.server.admission.reject(self.client)
        self._write([answers.head(answer, version="1.1", keep_alive=True), answer.body])
        self.server.busy(self)
        self.server.idle(self)

    def _write(self, response: list[bytes]) -> None:
        self.transport.writelines(response)
        self.has_served = True
        self.since = self.server.now()
        self.server.memory.sending(self, self.transport.get_write_buffer_size())

    def _is_last(self) -> bool:
        """Whether the current request is the last one of this connection."""
        if self.server.is_stopping:
            return True
        return (self.is_deaf or self.is_at_end) and not self.ready and self.receiving is None

    def _linger(self) -> None:
        """Keep reading for a while, because closing with unread input would lose the response."""
        self._drop_rest()
        if self.is_at_end:
            self.transport.close()
            return
        self.is_lingering = True
        self.transport.write_eof()
        self.server.loop.call_later(limits.LINGER_PAUSE_SECONDS, self._read_on)

    def _read_on(self) -> None:
        if self.transport is not None:
            self._resume()

    def _drop_rest(self) -> None:
        """Drop the requests after the last response, and free their memory."""
        for request in (self.receiving, *self.ready):
            if request is not None:
                self._forget(request)
        self.rejected = None
        self.ready.clear()
        self._end_receiving()

    def _cut(self) -> None:
        """End the input. A request within its body is refused; one within its head is dropped."""
        request = self.receiving
        self._end_receiving()
        if request is not None and request.has_head:
            self.rejected = request
            if request.refusal is None:
                self.refuse(request, "incomplete_body")

    def reject(self, error: BadHead) -> None:
        """Respond to a request with an invalid head, after the requests before it."""
        self._end_receiving()
        self.rejected = Incoming(self.heard)
        self.rejected.has_head = True
        self.rejected.refusal = error

    def _end_receiving(self) -> None:
        """Drop the parser, which breaks a reference cycle: large bodies must not wait for the garbage collector."""
        self.is_deaf = True
        self._parser = None

    def refuse(self, request: Incoming, reason: str) -> None:
        """Have the application respond to a request without its body. `reason` is a key of `pages.REFUSALS`."""
        request.refusal = reason
        self._forget(request)

    def _forget(self, request: Incoming) -> None:
        request.drop()
        self.server.memory.release(request)

    def _resume(self) -> None:
        if not self.is_at_end:
            self.transport.resume_reading()
