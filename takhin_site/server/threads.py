"""Run the application: short requests in the writer's lane, all others in threads."""

import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from django.db import close_old_connections

from core import lane, turns
from core.lane import Elsewhere, Lane
from takhin_site.server import answers
from takhin_site.server.answers import Abandoned, Answer, Application, MakeEnviron, Result
from takhin_site.server.large import LargeRequests

Done = Callable[[Result], None]
Jobs = queue.SimpleQueue[tuple[MakeEnviron, Done]]


class Writer(Protocol):
    """What commits the requests of a lane."""

    lane: Lane

    @property
    def is_blocked(self) -> bool: ...


class Threads:
    """A pool of threads, beside the lane of a writer, if there is one.

    They call `wake` when there are results for `deliver`, which the event loop's thread calls. Those of large requests
    call `give_way` between their steps, which lets the event loop handle what has arrived.
    """

    def __init__(
        self,
        application: Application,
        count: int,
        wake: Callable[[], object],
        give_way: Callable[[], object],
        writer: Writer | None = None,
    ) -> None:
        self._application = application
        self._writer = writer
        self._wake = wake
        self._jobs = Jobs()
        # Probes have their own thread, because all others may be waiting for the database that a probe checks.
        self._probes = Jobs()
        self._results: deque[tuple[Done, Result]] = deque()
        self._is_waking = False
        self.large = LargeRequests(self.submit, give_way)
        for number in range(count):
            threading.Thread(target=self._loop, args=[self._jobs], name=f"takhin-request-{number}", daemon=True).start()
        threading.Thread(target=self._loop, args=[self._probes], name="takhin-probe", daemon=True).start()

    def submit(self, make_environ: MakeEnviron, done: Done, *, is_probe: bool = False) -> None:
        (self._probes if is_probe else self._jobs).put((make_environ, done))

    def submit_short(self, make_environ: MakeEnviron, done: Done) -> None:
        """Run a request that takes little time, in the lane unless that is held up."""
        if self._writer is None or self._writer.is_blocked or self._writer.lane.is_stuck:
            self.submit(make_environ, done)
        else:
            self._writer.lane.start(_Short(self, make_environ, done))

    def rescue(self) -> None:
        """Run what waits in a lane that is held up in threads, and what waits for a large request that takes long."""
        self.large.rescue()
        if self._writer is not None and self._writer.lane.is_stuck:
            for task in self._writer.lane.take_back():
                assert isinstance(task, _Short)
                self.submit(task.make_environ, task.done)

    def deliver(self) -> None:
        """Deliver all available results."""
        # Reset before reading, so that a result that is added from now on wakes the loop again.
        self._is_waking = False
        while self._results:
            done, result = self._results.popleft()
            done(result)

    def _loop(self, jobs: Jobs) -> None:
        while True:
            self._run(*jobs.get())

    def _run(self, make_environ: MakeEnviron, done: Done) -> None:
        """Run one job. Separate from the loop, so that an idle thread keeps no reference to a body."""
        result = answers.run(self._application, make_environ)
        turns.end()
        self._finish(result, done)

    def run_short(self, make_environ: MakeEnviron, done: Done) -> None:
        try:
            environ = make_environ()
        except Abandoned:
            self._finish(Abandoned, done)
            return
        result = answers.run(self._application, environ.copy)
        if result is Elsewhere:
            close_old_connections()
            environ["wsgi.input"].seek(0)
            self.submit(lambda: environ, done)
        else:
            self._finish(result, done)

    def _finish(self, result: Result, done: Done) -> None:
        if not isinstance(result, Answer):
            # Django cleans up its connections when a response is closed, and there is none.
            close_old_connections()
        lane.collect(self._add_results, (done, result))

    def _add_results(self, results: list[tuple[Done, Result]]) -> None:
        self._results.extend(results)
        if not self._is_waking:
            self._is_waking = True
            self._wake()


class _Short:
    """A short request, as a task of the lane."""

    __slots__ = ("_threads", "done", "make_environ")

    def __init__(self, threads: Threads, make_environ: MakeEnviron, done: Done) -> None:
        self._threads = threads
        self.make_environ = make_environ
        self.done = done

    def __call__(self) -> None:
        self._threads.run_short(self.make_environ, self.done)
