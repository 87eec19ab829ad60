"""Run the application in threads, for complete requests and for checks of requests that are still arriving."""

import queue
import threading
from collections import deque
from collections.abc import Callable

from django.db import close_old_connections

from takhin_site.server import answers
from takhin_site.server.answers import Answer, Application, MakeEnviron, Result

Done = Callable[[Result], None]
Jobs = queue.SimpleQueue[tuple[MakeEnviron, Done]]


class Threads:
    """A pool of threads. They call `wake` when there are results for `deliver`, which the event loop's thread calls."""

    def __init__(self, application: Application, count: int, wake: Callable[[], object]) -> None:
        self._application = application
        self._wake = wake
        self._jobs = Jobs()
        # Probes have their own thread, because all others may be waiting for the database that a probe checks.
        self._probes = Jobs()
        self._results: deque[tuple[Done, Result]] = deque()
        self._is_waking = False
        for number in range(count):
            threading.Thread(target=self._loop, args=[self._jobs], name=f"takhin-request-{number}", daemon=True).start()
        threading.Thread(target=self._loop, args=[self._probes], name="takhin-probe", daemon=True).start()

    def submit(self, make_environ: MakeEnviron, done: Done, *, is_probe: bool = False) -> None:
        (self._probes if is_probe else self._jobs).put((make_environ, done))

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
        if not isinstance(result, Answer):
            # Django cleans up its connections when a response is closed, and there is none.
            close_old_connections()
        self._results.append((done, result))
        if not self._is_waking:
            self._is_waking = True
            self._wake()
