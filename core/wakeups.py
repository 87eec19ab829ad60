"""Wake threads that wait for work or for a request to finish, in all processes of a server.

The database stays authoritative. Whoever waits also looks there, for other servers and for messages that are lost.
"""

import contextlib
import os
import threading
from collections.abc import Callable

WORK = b"work"
_READ_BYTES = 65_536

_work = threading.Event()
_finished: dict[str, list[Callable[[], object]]] = {}
_lock = threading.Lock()


class Waiting(BaseException):
    """The response must wait until the request finishes or `seconds` pass. The server then calls the application again.

    Raised out of the application to a server that holds no thread while it waits. It is a BaseException, so no
    `except Exception` catches it. `new_id` is the X-Request-Id that the response will have, if the client sent none.
    """

    def __init__(self, request_id: str, seconds: float, new_id: str | None = None) -> None:
        super().__init__(request_id, seconds)
        self.request_id = request_id
        self.seconds = seconds
        self.new_id = new_id


class _Siblings:
    """The pipes between the processes of a server, made before they are forked."""

    def __init__(self) -> None:
        self.pipes: list[tuple[int, int]] = []
        self.others: list[int] = []


_siblings = _Siblings()


def connect(count: int) -> None:
    """Prepare for `count` processes that will be forked from this one."""
    if count > 1:
        _siblings.pipes = [os.pipe() for _ in range(count)]
        for ends in _siblings.pipes:
            os.set_blocking(ends[1], False)


def join(number: int) -> None:
    """Become the process with this number, and hear the others."""
    if _siblings.pipes:
        _siblings.others = [writing for index, (_, writing) in enumerate(_siblings.pipes) if index != number]
        threading.Thread(target=_hear, args=[_siblings.pipes[number][0]], name="takhin-wakeups", daemon=True).start()


def _hear(reading: int) -> None:
    rest = b""
    while True:
        *messages, rest = (rest + os.read(reading, _READ_BYTES)).split(b"\n")
        for message in messages:
            if message == WORK:
                _work.set()
            else:
                _finished_here(message.decode())


def _tell(message: bytes) -> None:
    for other in _siblings.others:
        # A pipe that is full belongs to a process that hangs or starts. It looks into the database later.
        with contextlib.suppress(OSError):
            os.write(other, message + b"\n")


def work_arrived() -> None:
    """Wake the workers of this server."""
    _work.set()
    _tell(WORK)


def wake_worker() -> None:
    """Wake a worker of this process."""
    _work.set()


def wait_for_work(seconds: float) -> None:
    _work.wait(seconds)
    _work.clear()


def finished(request_id: str) -> None:
    _finished_here(request_id)
    _tell(request_id.encode())


def _finished_here(request_id: str) -> None:
    with _lock:
        callbacks = _finished.pop(request_id, ())
    for callback in callbacks:
        callback()


def when_finished(request_id: str, callback: Callable[[], object]) -> None:
    """Call `callback` once when the request finishes. It runs in the thread that finishes it, so it must be quick."""
    with _lock:
        _finished.setdefault(request_id, []).append(callback)


def forget(request_id: str, callback: Callable[[], object]) -> None:
    """Undo `when_finished`. Does nothing if the callback was already called."""
    with _lock:
        callbacks = _finished.get(request_id, [])
        if callback in callbacks:
            callbacks.remove(callback)
        if not callbacks:
            _finished.pop(request_id, None)


def waited_for() -> list[str]:
    """Return the ids of the requests that this process waits for."""
    with _lock:
        return list(_finished)


def wait_finished(request_id: str, seconds: float) -> None:
    """Return when this process finishes the request, or after `seconds`."""
    event = threading.Event()
    when_finished(request_id, event.set)
    if not event.wait(seconds):
        forget(request_id, event.set)
