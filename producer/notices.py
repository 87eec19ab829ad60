"""Wake the threads of this process that wait for work or for a request's end; the database stays the truth."""

import threading

_work = threading.Event()
_finished: dict[str, threading.Event] = {}
_lock = threading.Lock()


def work_arrived() -> None:
    _work.set()


def wait_for_work(seconds: float) -> None:
    _work.wait(seconds)
    _work.clear()


def finished(request_id: str) -> None:
    with _lock:
        event = _finished.pop(request_id, None)
    if event is not None:
        event.set()


def wait_finished(request_id: str, seconds: float) -> None:
    """Return when a worker of this process ends the request, or after `seconds`."""
    with _lock:
        event = _finished.setdefault(request_id, threading.Event())
    if not event.wait(seconds):
        with _lock:
            _finished.pop(request_id, None)
