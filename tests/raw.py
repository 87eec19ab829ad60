"""Speak HTTP by hand, as clients do that stop half-way, send it in pieces, or send something else."""

import json
import socket
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

HOST = b"Host: localhost\r\n"


class Reply(NamedTuple):
    """One response; `status` 0 means that the connection ended without one."""

    status: int
    fields: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


NOTHING = Reply(0, {}, b"")


class Client:
    """One connection to a server."""

    def __init__(self, url: str, timeout: float = 20) -> None:
        where = urlsplit(url)
        assert where.hostname is not None
        self.socket = socket.create_connection((where.hostname, where.port), timeout)
        self._rest = b""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *pieces: bytes, pause: float = 0.05) -> "Client":
        """Each piece in a packet of its own, the next one `pause` seconds later."""
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(pause)
            self.socket.sendall(piece)
        return self

    def end(self) -> "Client":
        """Send nothing any more, and read on."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def reply(self, *, has_body: bool = True) -> Reply:
        """The next response, after any 100 Continue."""
        head = self._until(b"\r\n\r\n")
        if not head:
            return NOTHING
        status, *lines = head.decode("latin-1").rstrip().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines)
        number = int(status.split()[1])
        if number == 100:
            return self.reply(has_body=has_body)
        size = int(fields.get("content-length", 0)) if has_body else 0
        while len(self._rest) < size and (data := self.socket.recv(65536)):
            self._rest += data
        body, self._rest = self._rest[:size], self._rest[size:]
        return Reply(number, fields, body)

    def is_closed(self) -> bool:
        """Whether the server ends the connection; waits as long as the connection's timeout."""
        try:
            return self._rest == b"" and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def _until(self, end: bytes) -> bytes:
        try:
            while end not in self._rest and (data := self.socket.recv(65536)):
                self._rest += data
        except ConnectionResetError:
            return b""
        head, _, self._rest = self._rest.partition(end)
        return head


def head(method: str, path: str, *fields: str) -> bytes:
    lines = "".join(f"{field}\r\n" for field in fields)
    return f"{method} {path} HTTP/1.1\r\n".encode() + HOST + f"{lines}\r\n".encode()


def post(path: str, body: bytes, *fields: str, length: int | None = None) -> bytes:
    """A POST; `length` is what it says of its body, where that is not so."""
    return head("POST", path, f"Content-Length: {len(body) if length is None else length}", *fields) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
