"""Run many short requests in one thread: while one waits, the others go on.

With a thread for each, requests hand the interpreter's lock to one another several times, which costs more than the
requests themselves. In a lane each request runs in a greenlet, which switches only where it waits for a Gate.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import structlog
from greenlet import getcurrent, greenlet

log = structlog.get_logger("takhin.lane")
T = TypeVar("T")
Task = Callable[[], object]
# How long tasks are started before those that wait are served.
ROUND_SECONDS = 0.005
# A lane that has been busy with one step for this long is stuck, such as on a disk that hangs.
STUCK_SECONDS = 0.25
# The precision of the deadlines of waiting requests.
TICK_SECONDS = 0.05

_here = threading.local()


class Elsewhere(BaseException):
    """This request may take long or wait, and belongs in a thread of its own. Raised before it has changed anything.

    A BaseException, so that no `except Exception` catches it on the way to the server.
    """


class Gate:
    """An event that happens once, for one waiter: a thread, which blocks, or a task, which lets the others go on."""

    __slots__ = ("_lane", "_lock", "task")

    def __init__(self) -> None:
        # A bare lock wakes its waiter faster than an Event or a Future.
        self._lock = threading.Lock()
        self._lock.acquire()
        self._lane: Lane | None = None
        self.task: Any = None

    def open(self) -> None:
        """Let the waiter go on. Any thread may call this, once."""
        self._lock.release()
        if self._lane is not None:
            self._lane.opened(self)

    def try_pass(self) -> bool:
        """Return whether the gate is open, without waiting. Only its waiter calls this."""
        return self._lock.acquire(blocking=False)

    def wait(self, seconds: float) -> bool:
        """Wait for at most `seconds`. Return whether the gate is open. Its waiter may wait again after that."""
        lane = current()
        if lane is None:
            return self._lock.acquire(timeout=seconds)
        self._lane = lane
        return lane.park(self, seconds)


class Lane:
    """A thread that runs tasks.

    After each round of tasks it calls `settle`, which may open gates. `settle` returns after how many seconds it wants
    to be called again, or None if that can wait for the next task.
    """

    def __init__(self, name: str, settle: Callable[[], float | None], ended: Callable[[], object]) -> None:
        self._settle = settle
        self._ended = ended
        self._queue: queue.SimpleQueue[Gate | Task | None] = queue.SimpleQueue()
        # Gates that this thread has opened.
        self._opened: deque[Gate] = deque()
        # Tasks that wait, and until when.
        self._parked: dict[Gate, float] = {}
        self._looked_at = 0.0
        self._busy_since: float | None = None
        # What `collect` has been given, by what will use it.
        self._collected: dict[Callable[[list[Any]], object], list[Any]] = {}
        self._is_ending = False
        self._hub: Any = None
        self.thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self.thread.start()

    # Called by other threads

    def start(self, task: Task) -> None:
        """Run a task. It must not raise."""
        self._queue.put(task)

    def wake(self) -> None:
        """Have `settle` called."""
        self._queue.put(None)

    @property
    def is_stuck(self) -> bool:
        since = self._busy_since
        return since is not None and time.monotonic() - since > STUCK_SECONDS

    def take_back(self) -> list[Task]:
        """Return the tasks that have not started, which then never do."""
        found: list[Task] = []
        for _ in range(self._queue.qsize()):
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None or isinstance(item, Gate):
                self._queue.put(item)
            else:
                found.append(item)
        return found

    def end(self) -> None:
        """Stop when nothing is left to do."""
        self._is_ending = True
        self.wake()
        self.thread.join()

    def opened(self, gate: Gate) -> None:
        if threading.current_thread() is self.thread:
            self._opened.append(gate)
        else:
            self._queue.put(gate)

    # Called by tasks

    def is_task(self) -> bool:
        """Whether the caller is a task, and not what the lane itself runs."""
        return getcurrent() is not self._hub

    def park(self, gate: Gate, seconds: float) -> bool:
        """Let other tasks run until the gate opens. Return False if it has not opened within `seconds`."""
        if gate.try_pass():
            return True
        gate.task = getcurrent()
        self._parked[gate] = time.monotonic() + seconds
        return bool(self._hub.switch())

    def collect(self, use: Callable[[list[Any]], object], item: object) -> None:
        self._collected.setdefault(use, []).append(item)

    # The thread

    def _loop(self) -> None:
        _here.lane = self
        self._hub = getcurrent()
        wanted: float | None = None
        while not (self._is_ending and self._queue.empty() and not self._parked):
            item = self._next(wanted)
            try:
                wanted = self._step(item)
            except Exception:
                # Without this thread, nothing would be written any more.
                log.exception("lane_failed")
        self._ended()

    def _step(self, item: Gate | Task | None) -> float | None:
        self._busy_since = time.monotonic()
        self._round(item)
        self._use_collected()
        wanted = self._settle()
        while self._opened:
            self._resume(self._opened.popleft(), True)
            if not self._opened:
                self._use_collected()
                wanted = self._settle()
        if self._parked:
            self._expire()
            self._use_collected()
        return wanted

    def _use_collected(self) -> None:
        if self._collected:
            collected, self._collected = self._collected, {}
            for use, items in collected.items():
                use(items)

    def _next(self, wanted: float | None) -> Gate | Task | None:
        self._busy_since = None
        if self._parked:
            wanted = TICK_SECONDS if wanted is None else min(wanted, TICK_SECONDS)
        try:
            return self._queue.get(timeout=wanted)
        except queue.Empty:
            return None

    def _round(self, item: Gate | Task | None) -> None:
        until = time.monotonic() + ROUND_SECONDS
        while True:
            if isinstance(item, Gate):
                self._resume(item, True)
            elif item is not None:
                greenlet(item).switch()
            if self._queue.empty() or time.monotonic() > until:
                return
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return

    def _resume(self, gate: Gate, is_open: bool) -> None:
        """Go on with the task that waits for the gate, unless it has stopped waiting."""
        if self._parked.pop(gate, None) is not None:
            gate.task.switch(is_open)

    def _expire(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < TICK_SECONDS:
            return
        self._looked_at = now
        for gate in [gate for gate, until in self._parked.items() if until < now]:
            self._resume(gate, False)


def current() -> Lane | None:
    """Return the lane that the caller is a task of, or None."""
    lane: Lane | None = getattr(_here, "lane", None)
    return lane if lane is not None and lane.is_task() else None


def collect(use: Callable[[list[Any]], object], item: object) -> None:
    """Call `use` with a list that contains the item, and those of other tasks of this lane that are done as well.

    It must not raise. A system call for each would take longer, and hand the interpreter's lock to other threads.
    """
    lane = current()
    if lane is None:
        use([item])
    else:
        lane.collect(use, item)


def blocking(call: Callable[[], T]) -> T:
    """Return what a call that may block returns, while other tasks go on."""
    if current() is None:
        return call()
    with ThreadPoolExecutor(1) as pool:
        gate = Gate()
        future = pool.submit(call)
        future.add_done_callback(lambda _: gate.open())
        gate.wait(threading.TIMEOUT_MAX)
        return future.result()


def leave() -> None:
    """Have the caller run in a thread of its own, if it is a task. Call this before anything slow.

    Raises Elsewhere.
    """
    if current() is not None:
        raise Elsewhere
