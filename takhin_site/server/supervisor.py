"""Keep one process serving: start it, start it again when it crashes, and end it when this one is to end."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger("takhin.server")
STOP = {signal.SIGTERM, signal.SIGINT}
# A process that dies this often in a row is not worth starting again: whoever runs this one should know.
MOST_CRASHES = 5
CRASH_SECONDS = 30.0

# Serves the socket until SIGTERM, which it unblocks, or until the pipe's other end is closed.
Serve = Callable[[socket.socket, int], None]


def run(listener: socket.socket, serve: Serve, started: Callable[[], object], grace_seconds: float) -> int:
    """Supervise until SIGTERM or SIGINT; returns the exit code. `started` is called once, here.

    Signals are blocked and waited for: no handler can interrupt another.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {*STOP, signal.SIGCHLD})
    reading, writing = os.pipe()
    crashes: list[float] = []
    child = _fork(listener, serve, reading, writing)
    started()
    while True:
        received = signal.sigwait({*STOP, signal.SIGCHLD})
        if received in STOP:
            listener.close()
            return _stop(child, grace_seconds)
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


def _fork(listener: socket.socket, serve: Serve, reading: int, writing: int) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    if (child := os.fork()) != 0:
        return child
    code = 1
    try:
        os.close(writing)
        # Ctrl-C reaches every process of the terminal; this one waits for its parent's word.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # SIGTERM stays blocked until there is a handler for it: it would end the process at once, as if it had crashed.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGCHLD})
        serve(listener, reading)
        code = 0
    except BaseException:
        log.exception("the server process fails")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit, which would unwind the parent's frames in this process.
        os._exit(code)


def _stop(child: int, grace_seconds: float) -> int:
    """End the child: by SIGTERM, and by SIGKILL when it takes longer than this."""
    os.kill(child, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while (left := deadline - time.monotonic()) > 0:
        signal.sigtimedwait({signal.SIGCHLD}, left)
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
