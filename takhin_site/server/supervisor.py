"""Keep a server process running: start it, restart it when it crashes, and stop it on shutdown."""

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import structlog

log = structlog.get_logger("takhin.server")
STOP = {signal.SIGTERM, signal.SIGINT}
HEEDED = {*STOP, signal.SIGCHLD}
# After this many crashes in a row, stop restarting and exit, so that the operator notices.
MOST_CRASHES = 5
CRASH_SECONDS = 30.0

# Serves the socket until SIGTERM, which it unblocks, or until the pipe's other end is closed.
Serve = Callable[[socket.socket, int], None]


class Inbox:
    """The signals that this process receives, in order.

    Whichever thread a signal interrupts, Python only writes its number to a pipe. Database clients have their own
    threads, and a handler that did more could interrupt itself.
    """

    def __init__(self) -> None:
        self._reading, writing = os.pipe()
        for end in (self._reading, writing):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in HEEDED:
            signal.signal(number, lambda *_: None)

    def next(self, seconds: float | None = None) -> int | None:
        """Return the next signal, or None if none arrives within `seconds`."""
        select.select([self._reading], [], [], seconds)
        try:
            return os.read(self._reading, 1)[0]
        except BlockingIOError:
            return None


def run(listener: socket.socket, serve: Serve, started: Callable[[], object], grace_seconds: float) -> int:
    """Supervise until SIGTERM or SIGINT, and return the exit code. Calls `started` once, in this process."""
    inbox = Inbox()
    reading, writing = os.pipe()
    crashes: list[float] = []
    child = _fork(listener, serve, reading, writing)
    with _blocked():
        started()
    while True:
        if inbox.next() in STOP:
            listener.close()
            return _stop(child, inbox, grace_seconds)
        if (status := _status_of(child)) is None:
            continue
        code = os.waitstatus_to_exitcode(status)
        log.error("the server process ended", pid=child, reason=_reason(code))
        crashes = [*(moment for moment in crashes if time.monotonic() - moment < CRASH_SECONDS), time.monotonic()]
        if len(crashes) >= MOST_CRASHES:
            reason = f"{len(crashes)} crashes within {CRASH_SECONDS:g} seconds"
            log.critical("the server stops", reason=reason)
            return 1
        child = _fork(listener, serve, reading, writing)


@contextmanager
def _blocked() -> Iterator[None]:
    """Block signals in this thread, because a new process must not handle them as this one does."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HEEDED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEEDED)


def _fork(listener: socket.socket, serve: Serve, reading: int, writing: int) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    with _blocked():
        if (child := os.fork()) == 0:
            os.close(writing)
            _serve(listener, serve, reading)
    return child


def _serve(listener: socket.socket, serve: Serve, reading: int) -> NoReturn:
    """Run the new process, which starts with all signals blocked."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        # Ctrl-C reaches every process of the terminal. This one waits for its parent's SIGTERM.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # SIGTERM stays blocked until it has a handler. Before that it would kill the process, like a crash.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGCHLD})
        serve(listener, reading)
        code = 0
    except BaseException:
        log.exception("the server process fails")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit, which would run the parent's cleanup in this process.
        os._exit(code)


def _stop(child: int, inbox: Inbox, grace_seconds: float) -> int:
    """Stop the child with SIGTERM, or with SIGKILL if it takes longer than `grace_seconds`."""
    for number in STOP:
        # One signal is enough. Ignoring lasts while the interpreter exits, which removes handlers.
        signal.signal(number, signal.SIG_IGN)
    os.kill(child, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while (left := deadline - time.monotonic()) > 0:
        inbox.next(left)
        if (status := _status_of(child)) is not None:
            return 0 if os.waitstatus_to_exitcode(status) == 0 else 1
    log.error("the server process did not end in time", pid=child, seconds=grace_seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 1


def _status_of(child: int) -> int | None:
    """The child's status when it has ended; reaps other children of this process too."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = status


def _reason(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
