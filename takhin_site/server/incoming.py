"""A request as it arrives, and its WSGI environment."""

import io
from typing import Any
from urllib.parse import unquote_to_bytes

import httptools

from takhin_site.server import limits

# Headers that WSGI names without the prefix HTTP_ (PEP 3333).
OWN_NAMES = {"CONTENT_TYPE", "CONTENT_LENGTH"}


class BodyPending(BaseException):
    """The application read a body that is not complete. A BaseException, so that no `except Exception` catches it."""


class PendingBody:
    """The body of a request that is still arriving. The application makes its checks until it reads this."""

    is_pending = True

    def read(self, *_: Any) -> bytes:
        raise BodyPending

    readline = read


class RefusedBody(io.BytesIO):
    """The body of a request that gets its response without it. `refusal` is the reason."""

    def __init__(self, refusal: str) -> None:
        super().__init__()
        self.refusal = refusal


class BadHead(ValueError):
    """The request line or a header is invalid (RFC 9112). `status` is the status of the response."""

    def __init__(self, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.status = status


class Incoming:
    """A request being received."""

    __slots__ = (
        "_pieces",
        "began",
        "counted",
        "declared",
        "expects_continue",
        "field_count",
        "fields",
        "has_head",
        "head_bytes",
        "host",
        "is_checked",
        "is_complete",
        "is_started",
        "keep_alive",
        "method",
        "path",
        "pieces",
        "query",
        "rate_bytes",
        "rate_since",
        "raw_bytes",
        "refusal",
        "size",
        "target",
        "version",
    )

    def __init__(self, began: float) -> None:
        self.began = began
        self.method = ""
        self.target = b""
        self.path = self.query = ""
        self.version = "1.1"
        self.fields: dict[str, str] = {}
        # Counts all fields, including joined and dropped ones.
        self.field_count = 0
        self.host: str | None = None
        # Bytes of the header fields, and of everything since the request's first piece.
        self.head_bytes = self.raw_bytes = 0
        self.has_head = False
        self.declared: int | None = None
        self.expects_continue = False
        self.keep_alive = True
        self._pieces: list[bytes | bytearray] = []
        self.size = self.pieces = 0
        # Bytes counted against the server's memory for bodies.
        self.counted = 0
        self.rate_since = began
        self.rate_bytes = 0
        self.is_complete = False
        self.is_checked = False
        self.is_started = False
        # Why the request gets its response without its body: a key of `pages.REFUSALS`, or an invalid head.
        self.refusal: str | BadHead | None = None

    def add_field(self, name: bytes, value: bytes) -> None:
        """Raises BadHead."""
        text = value.decode("latin-1").strip(" \t")
        key = name.decode("latin-1").upper()
        if "_" in key:
            # WSGI cannot tell it from the field with a dash, which a proxy may have set or removed.
            return
        key = key.replace("-", "_")
        if key == "HOST" and self.host is not None:
            raise BadHead("the request has more than one Host header")
        if key == "HOST":
            self.host = text
        if key not in OWN_NAMES:
            key = f"HTTP_{key}"
        known = self.fields.get(key)
        joint = "; " if key == "HTTP_COOKIE" else ","
        self.fields[key] = text if known is None else f"{known}{joint}{text}"

    def end_head(self, method: str, version: str) -> None:
        """Check the head as a whole. Raises BadHead."""
        self.method, self.version = method, version
        self.has_head = True
        if version not in ("1.0", "1.1"):
            raise BadHead("the HTTP version must be 1.1 or 1.0", 505)
        if self.host is None and version == "1.1":
            raise BadHead("an HTTP/1.1 request must have a Host header")
        coding = self.fields.pop("HTTP_TRANSFER_ENCODING", None)
        if coding is not None and coding.lower() != "chunked":
            raise BadHead("Transfer-Encoding must be chunked", 501)
        if coding is not None and version == "1.0":
            # A proxy in front may not know it, and treat the body as further requests.
            raise BadHead("an HTTP/1.0 request must not have a Transfer-Encoding header")
        self.declared = None if coding is not None else int(self.fields.get("CONTENT_LENGTH", 0))
        self.path, self.query = self._split_target()
        self.expects_continue = version == "1.1" and "100-continue" in self.fields.get("HTTP_EXPECT", "").lower()

    def add(self, piece: bytes) -> None:
        """Add a part of the body. Small ones are joined at once, because each would take more memory than its bytes."""
        if len(piece) >= limits.SMALL_PIECE_BYTES:
            self._pieces.append(piece)
        elif self._pieces and isinstance(self._pieces[-1], bytearray):
            self._pieces[-1] += piece
        else:
            self._pieces.append(bytearray(piece) if self._pieces else piece)
        self.size += len(piece)
        self.pieces += 1

    def drop(self) -> None:
        """Discard the received part of the body."""
        self._pieces = []

    @property
    def is_for_api(self) -> bool:
        return self.path.startswith("/api/")

    @property
    def is_short(self) -> bool:
        """Whether it is a produce request whose records take about a millisecond. The view makes sure of the rest."""
        is_small = self.size <= limits.MAX_SHORT_BODY_BYTES
        return is_small and self._is_produce and "HTTP_CONTENT_ENCODING" not in self.fields

    @property
    def is_large(self) -> bool:
        """Whether it is a produce request that takes many milliseconds of processor time."""
        return max(self.size, self.declared or 0) > limits.MAX_SHORT_BODY_BYTES and self._is_produce

    @property
    def _is_produce(self) -> bool:
        return self.method == "POST" and self.path.startswith(("/api/topics/", "/api/produce"))

    def framing(self) -> bytes:
        """Return a minimal request head with the same body framing."""
        length = "transfer-encoding: chunked" if self.declared is None else f"content-length: {self.declared}"
        return f"POST / HTTP/{self.version}\r\n{length}\r\n\r\n".encode()

    def is_too_slow(self, now: float, seconds: float, least: int) -> bool:
        """Return whether fewer than `least` bytes arrived in the last window of `seconds`."""
        if now - self.rate_since < seconds:
            return False
        is_slow = self.size - self.rate_bytes < least
        self.rate_since, self.rate_bytes = now, self.size
        return is_slow

    def _split_target(self) -> tuple[str, str]:
        """Return the path, unquoted as in WSGI (PEP 3333), and the query. Raises BadHead."""
        try:
            url = httptools.parse_url(self.target)
        except httptools.HttpParserInvalidURLError:
            raise BadHead("the request target is not a valid URL") from None
        if url.host is not None and self.target[:1] != b"/":
            self._check_authority(url)
        path = url.path or b"/"
        if path[:1] != b"/":
            raise BadHead("the request target is not a path")
        return unquote_to_bytes(path).decode("latin-1"), (url.query or b"").decode("latin-1")

    def _check_authority(self, url: Any) -> None:
        """Check that the host of an absolute target matches Host, which decides about access. Raises BadHead."""
        authority = url.host.decode("latin-1")
        if b"[" in self.target[:12]:
            authority = f"[{authority}]"
        if url.port is not None:
            authority = f"{authority}:{url.port}"
        if self.host is None or authority.lower() != self.host.lower():
            raise BadHead("the request target and the Host header differ")

    def environ(self, base: dict[str, Any]) -> dict[str, Any]:
        """Return the WSGI environment (PEP 3333) of a complete request. Moves the body out of this object."""
        # A body in one piece is not copied here, nor when all of it is read.
        body = b"".join(self._pieces)
        self.drop()
        return self._environ(base, io.BytesIO(body), len(body))

    def environ_without_body(self, base: dict[str, Any]) -> dict[str, Any]:
        """Return the WSGI environment with a placeholder for a body that is incomplete, or was refused."""
        stream = RefusedBody(self.refusal) if isinstance(self.refusal, str) else PendingBody()
        # Django does not read a body without a length.
        return self._environ(base, stream, self.declared or 1)

    def _environ(self, base: dict[str, Any], stream: object, length: int) -> dict[str, Any]:
        environ = {**base, **self.fields}
        environ["REQUEST_METHOD"] = self.method
        environ["PATH_INFO"] = self.path
        environ["QUERY_STRING"] = self.query
        environ["SERVER_PROTOCOL"] = f"HTTP/{self.version}"
        environ["CONTENT_LENGTH"] = str(length)
        environ["wsgi.input"] = stream
        return environ


def base_environ(host: str, port: int) -> dict[str, Any]:
    """Return what the WSGI environments of all requests to a server share."""
    return {
        "SCRIPT_NAME": "",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": None,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
