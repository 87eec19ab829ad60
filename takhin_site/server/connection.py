"""One client's connection: requests in, one answer for each in the same order, and nothing that waits for ever."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from producer.notices import Waiting
from takhin_site.server import answers, limits
from takhin_site.server.answers import Answer, Result
from takhin_site.server.incoming import BadHead, Incoming
from takhin_site.server.parsing import BadBody, Parser, TooManyWaiting

if TYPE_CHECKING:
    from takhin_site.server.serving import Server

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """`receiving` is the request that arrives, `ready` are those that wait, `working` is the one being answered.

    A request is answered when it is complete. One that is not is checked meanwhile, up to its body, so that what would
    be refused anyway is refused before its body is waited for.
    """

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.transport: Any = None
        self.base: dict[str, Any] = {}
        # One whose head cannot be read, in the place of the one being received.
        self.rejected: Incoming | None = None
        self.ready: deque[Incoming] = deque()
        self.working: Incoming | None = None
        # What arrives from now on is dropped: the connection ends with the next answer.
        self.is_deaf = False
        self.is_at_end = False
        self.is_full = False
        self.is_lingering = False
        self.has_served = False
        self.since = server.now()
        self.heard = self.since
        self.unsent = 0
        self._parser: Parser | None = Parser(self)

    # What the event loop tells

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        peer = transport.get_extra_info("peername") or ("", 0)
        self.base = {**self.server.base_environ, "REMOTE_ADDR": str(peer[0]), "REMOTE_PORT": str(peer[1])}
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

    def _is_refused(self) -> bool:
        """Whether what arrives belongs to a request that is answered without it, once those before it are."""
        return self.receiving is not None and self.receiving.refusal is not None

    def _bound(self) -> None:
        """Bound what the request that is arriving may hold: by the server's memory, and until its key is checked."""
        request = self.receiving
        if request is None or request.refusal is not None:
            return
        if request.raw_bytes > 2 * request.size + limits.MAX_FRAMING_BYTES:
            self.refuse(request, "too_many_chunks")
        elif request.size and not self.server.hold(request):
            self.refuse(request, "overloaded")
        elif request.size > limits.UNCHECKED_BODY_BYTES and not request.is_checked:
            self.transport.pause_reading()

    @property
    def receiving(self) -> Incoming | None:
        """The request that arrives, as far as this connection will have it."""
        if self.rejected is not None:
            return self.rejected
        return None if self._parser is None else self._parser.receiving

    def eof_received(self) -> bool:
        """A client that has sent its last request may still read; one that stopped within a request is answered 400."""
        self.is_at_end = True
        if self.is_lingering:
            return False
        self._cut()
        self.advance()
        return self.working is not None or bool(self.ready) or self.unsent > 0

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        # Some of it is still to be taken, and has its time from now on.
        self.since = self.server.now()
        self.server.sending(self, self.transport.get_write_buffer_size())
        self.advance()

    # What the parser tells

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
        if request.refusal is None and not self.server.hold(request):
            self.refuse(request, "overloaded")
        self.ready.append(request)
        if len(self.ready) > 1 or self.working not in (None, request):
            self.transport.pause_reading()

    # Steps

    def advance(self) -> None:
        """Take the steps that can be taken now, in the order of requests."""
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
        """Whether a request that is arriving is checked now: not while the rest of it may come any moment."""
        if not request.has_head or request.is_checked:
            return False
        if request.expects_continue or request.size > limits.UNCHECKED_BODY_BYTES:
            return True
        left = request.began + limits.CHECK_SECONDS - self.server.now()
        if left > 0:
            self.server.loop.call_later(left, self.advance)
        return left <= 0

    def finish(self, request: Incoming, result: Result) -> None:
        """Take in what running the application for `request` came to, and go on."""
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
        if request.expects_continue and not request.size:
            self.transport.write(CONTINUE)
        request.began = request.rate_since = self.server.now()
        self._resume()

    def _send(self, request: Incoming, answer: Answer) -> None:
        is_whole = request.is_complete and request.refusal is None
        stays = is_whole and request.keep_alive and not self._is_last()
        head = answers.head(answer, version=request.version, keep_alive=stays)
        has_body = request.method != "HEAD" and not answer.status.startswith(answers.WITHOUT_BODY)
        self.transport.writelines([head, answer.body] if has_body else [head])
        self._forget(request)
        if request in self.ready:
            self.ready.remove(request)
        self.has_served = True
        self.since = self.server.now()
        self.server.sending(self, self.transport.get_write_buffer_size())
        if stays:
            if not self.ready and self.receiving is None:
                self.server.idle(self)
            self._resume()
        elif is_whole and not (self.is_deaf or self.ready or self.receiving):
            self._drop_rest()
            self.transport.close()
        else:
            self._linger()

    def _is_last(self) -> bool:
        """Whether no request follows the one being answered: none can come, or none is wanted."""
        if self.server.is_stopping:
            return True
        return (self.is_deaf or self.is_at_end) and not self.ready and self.receiving is None

    def _linger(self) -> None:
        """Read on for a while, or the response is lost with what was not read."""
        self._drop_rest()
        if self.is_at_end:
            self.transport.close()
            return
        self.is_lingering = True
        self.transport.write_eof()
        self._resume()

    def _drop_rest(self) -> None:
        """What is behind the last answer is not run, and no longer counts against the server's memory."""
        for request in (self.receiving, *self.ready):
            if request is not None:
                self._forget(request)
        self.rejected = None
        self.ready.clear()
        self._end_receiving()

    def _cut(self) -> None:
        """What arrives ends here: within a body, that request is refused; within a head, there is none."""
        request = self.receiving
        self._end_receiving()
        if request is not None and request.has_head:
            self.rejected = request
            if request.refusal is None:
                self.refuse(request, "incomplete_body")

    def reject(self, error: BadHead) -> None:
        """Answer a request whose head cannot be read, after those before it."""
        self._end_receiving()
        self.rejected = Incoming(self.heard)
        self.rejected.has_head = True
        self.rejected.refusal = error

    def _end_receiving(self) -> None:
        """Without its parser a connection has no cycle: large bodies must not wait for the garbage collector."""
        self.is_deaf = True
        self._parser = None

    def refuse(self, request: Incoming, reason: str) -> None:
        """Have a request answered without its body, for a reason that the application words."""
        request.refusal = reason
        self._forget(request)

    def _forget(self, request: Incoming) -> None:
        request.drop()
        self.server.release(request)

    def _resume(self) -> None:
        if not self.is_at_end:
            self.transport.resume_reading()
