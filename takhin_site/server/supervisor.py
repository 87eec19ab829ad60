"""Keep the server's processes running: start them, restart those that crash, and stop them on shutdown."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import NoReturn

import structlog

from core.signals import STOP, Inbox

log = structlog.get_logger("takhin.server")
HEEDED = {*STOP, signal.SIGCHLD}
# After this many crashes in a row, stop restarting and exit, so that the operator notices.
MOST_CRASHES = 5
CRASH_SECONDS = 30.0

# Serves the socket as the process with this number, until SIGTERM, which it unblocks, or until the pipe's other end is
# closed.
Serve = Callable[[int, socket.socket, int], None]


def run(listeners: list[socket.socket], serve: Serve, started: Callable[[], object], grace_seconds: float) -> int:
    """Supervise one process per socket until SIGTERM or SIGINT, and return the exit code.

    Calls `started` once, in this process.
    """
    inbox = Inbox(HEEDED)
    pipe = os.pipe()
    crashes: list[float] = []
    numbers = {_fork(number, listeners, serve, pipe): number for number in range(len(listeners))}
    with _blocked():
        started()
    while True:
        if inbox.next() in STOP:
            for listener in listeners:
                listener.close()
            return _stop(set(numbers), inbox, grace_seconds)
        for child, status in _ended(numbers):
            code = os.waitstatus_to_exitcode(status)
            log.error("process_ended", pid=child, reason=_reason(code))
            crashes = [*(moment for moment in crashes if time.monotonic() - moment < CRASH_SECONDS), time.monotonic()]
            if len(crashes) >= MOST_CRASHES * len(listeners):
                reason = f"{len(crashes)} crashes within {CRASH_SECONDS:g} seconds"
                log.critical("server_gives_up", reason=reason)
                _stop(set(numbers) - {child}, inbox, grace_seconds)
                return 1
            number = numbers.pop(child)
            numbers[_fork(number, listeners, serve, pipe)] = number


@contextmanager
def _blocked() -> Iterator[None]:
    """Block signals in this thread, because a new process must not handle them as this one does."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HEEDED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEEDED)


def _fork(number: int, listeners: list[socket.socket], serve: Serve, pipe: tuple[int, int]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    with _blocked():
        if (child := os.fork()) == 0:
            os.close(pipe[1])
            for index, listener in enumerate(listeners):
                if index != number:
                    listener.close()
            _serve(number, listeners[number], serve, pipe[0])
    return child


def _serve(number: int, listener: socket.socket, serve: Serve, reading: int) -> NoReturn:
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
        serve(number, listener, reading)
        code = 0
    except BaseException:
        log.exception("process_failed")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit, which would run the parent's cleanup in this process.
        os._exit(code)


def _stop(children: set[int], inbox: Inbox, grace_seconds: float) -> int:
    """Stop the children with SIGTERM, or with SIGKILL if they take longer than `grace_seconds`."""
    for number in STOP:
        # One signal is enough. Ignoring lasts while the interpreter exits, which removes handlers.
        signal.signal(number, signal.SIG_IGN)
    for child in children:
        os.kill(child, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    left, code = set(children), 0
    while left and (seconds := deadline - time.monotonic()) > 0:
        inbox.next(seconds)
        for child, status in _ended(left):
            left.discard(child)
            code = code or int(os.waitstatus_to_exitcode(status) != 0)
    for child in left:
        log.error("process_killed", pid=child, seconds=grace_seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return 1 if left else code


def _ended(children: Collection[int]) -> list[tuple[int, int]]:
    """Return those of the children that have ended, with their status; reaps other children of this process too."""
    found: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid in children:
            found.append((pid, status))


def _reason(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
