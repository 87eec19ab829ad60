"""Wake those in this process that wait for work or for a request's end; the database stays the truth."""

import threading
from collections.abc import Callable

_work = threading.Event()
_finished: dict[str, list[Callable[[], object]]] = {}
_lock = threading.Lock()


class Waiting(BaseException):
    """The answer has to wait until the request ends or `seconds` are over: the server asks for it again then.

    A server that does not hold threads while it waits takes this out of the application. It passes every
    `except Exception` on the way.
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
    """Call this once when the request ends; in the thread that ends it, so that it must not take long."""
    with _lock:
        _finished.setdefault(request_id, []).append(callback)


def forget(request_id: str, callback: Callable[[], object]) -> None:
    """The opposite of `when_finished`; harmless when the callback was called already."""
    with _lock:
        callbacks = _finished.get(request_id, [])
        if callback in callbacks:
            callbacks.remove(callback)
        if not callbacks:
            _finished.pop(request_id, None)


def waited_for() -> list[str]:
    """The requests that somebody in this process waits for."""
    with _lock:
        return list(_finished)


def wait_finished(request_id: str, seconds: float) -> None:
    """Return when a worker of this process ends the request, or after `seconds`."""
    event = threading.Event()
    when_finished(request_id, event.set)
    if not event.wait(seconds):
        forget(request_id, event.set)
