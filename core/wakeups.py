"""Wake threads of this process that wait for work or for a request to finish. The database stays authoritative."""

import threading
from collections.abc import Callable

_work = threading.Event()
_finished: dict[str, list[Callable[[], object]]] = {}
_lock = threading.Lock()


class Waiting(BaseException):
    """The response must wait until the request finishes or `seconds` pass. The server then calls the application again.

    Raised out of the application to a server that holds no thread while it waits. It is a BaseException, so no
    `except Exception` catches it.
    """

    def __init__(self, request_id: str, seconds: float) -> None:
        super().__init__(request_id, seconds)
        self.request_id = request_id
        self.seconds = seconds


def work_arrived() -> None:
    _work.set()


def wait_for_work(seconds: float) -> None:
    _work.wait(seconds)
    _work.clear()


def finished(request_id: str) -> None:
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
