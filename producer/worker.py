"""Take pending requests from the database and run them, one lease at a time."""

import random
import threading
import time
from collections.abc import Callable

import structlog
from django.db import close_old_connections

from producer import notices, services
from producer.errors import RegistryUnavailable
from producer.models import LEASE, MAX_ATTEMPTS, Overtaken, ProduceRequest
from topics import commits
from topics.errors import LogError, LogUnavailable, OutcomeUnknown
from topics.logs import current_log

log = structlog.get_logger("takhin.worker")
BATCH = 16
POLL_SECONDS = 0.5
# A worker that has not come round for this long is stuck.
HEARTBEAT_SECONDS = 60.0


class Worker:
    """One worker; `loop` runs it in the calling thread until `stop`."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._seen = time.monotonic()
        self._held: list[ProduceRequest] = []

    def stop(self) -> None:
        self._stopping.set()
        notices.work_arrived()

    def wait_until_ended(self, seconds: float) -> None:
        """Wait for what is in hand after `stop`."""
        self._ended.wait(seconds)

    @property
    def is_alive(self) -> bool:
        return time.monotonic() - self._seen < HEARTBEAT_SECONDS

    def loop(self) -> None:
        renewer = threading.Thread(target=self._renew_until_stopped, name="takhin-lease", daemon=True)
        renewer.start()
        while not self._stopping.is_set():
            self._seen = time.monotonic()
            try:
                if not self.run_once():
                    notices.wait_for_work(POLL_SECONDS)
            except (LogUnavailable, OutcomeUnknown) as error:
                log.warning("worker waits", error=str(error))
                self._drop()
                self._stopping.wait(1)
            except Exception:
                log.exception("worker failed, goes on")
                self._drop()
                self._stopping.wait(1)
            finally:
                close_old_connections()
        self._let_go()
        close_old_connections()
        self._ended.set()

    def run_once(self) -> int:
        """Claim what is pending and run it; returns how many requests that were."""
        if not self._is_work_waiting():
            return 0
        self._held = commits.run(lambda: ProduceRequest.objects.claim(BATCH))
        claimed = len(self._held)
        while self._held:
            self._seen = time.monotonic()
            if self._stopping.is_set():
                self._let_go()
                break
            with structlog.contextvars.bound_contextvars(requestId=self._held[0].http_request_id):
                run(self._held[0])
            self._held = self._held[1:]
        return claimed

    def _is_work_waiting(self) -> bool:
        with commits.translated():
            return ProduceRequest.objects.claimable().exists()

    def _drop(self) -> None:
        """Forget what was in hand: what is held no longer would be renewed for ever."""
        self._held = []

    def _let_go(self) -> None:
        """Give back what was not begun."""
        for row in self._held:
            while_mine(row, row.release)
        self._held = []

    def _renew_until_stopped(self) -> None:
        while not self._stopping.wait(LEASE.total_seconds() / 3):
            try:
                self._renew()
            except (LogUnavailable, OutcomeUnknown) as error:
                log.warning("lease not renewed", error=str(error))
            except Exception:
                # A lease that is not renewed once has time for another try; a thread that ended has not.
                log.exception("lease not renewed")
            finally:
                close_old_connections()

    def _renew(self) -> None:
        for row in self._held:
            while_mine(row, row.renew)


def run(row: ProduceRequest) -> None:
    """Run one claimed request, and release it for a later try when that is what it takes."""
    started = time.perf_counter()
    if gave_up(row):
        return
    try:
        services.run(current_log(), row)
        took = round((time.perf_counter() - started) * 1000, 2)
        log.info("ran", request=row.pk, topic=row.topic, attempt=row.attempts, milliseconds=took)
    except Overtaken:
        log.warning("overtaken", request=row.pk, attempt=row.attempts)
    except (LogUnavailable, OutcomeUnknown, RegistryUnavailable) as error:
        unavailable(row, error)
    except Exception as error:
        failed(row, error)


def gave_up(row: ProduceRequest) -> bool:
    """Whether this request has been tried too often; it is ended then."""
    if row.attempts <= MAX_ATTEMPTS:
        return False
    reason = f"gave up after {MAX_ATTEMPTS} attempts: {row.error or 'each ended its worker'}"
    while_mine(row, lambda: row.fail(reason))
    notices.finished(row.pk)
    return True


def unavailable(row: ProduceRequest, error: Exception) -> None:
    """Nothing is wrong with the request: try it again later, without counting the attempt."""
    log.warning("unavailable", request=row.pk, error=str(error))
    while_mine(row, lambda: row.release(_back_off(row)))


def failed(row: ProduceRequest, error: Exception) -> None:
    """The attempt failed for a reason nobody foresaw; call it where the error is handled."""
    log.exception("attempt failed", request=row.pk, attempt=row.attempts)
    reason = f"{type(error).__name__}: {error}"
    while_mine(row, lambda: row.postpone(_back_off(row), reason))


def _back_off(row: ProduceRequest) -> float:
    """Seconds until the next try: 1, 2, 4 up to 60, with jitter so that workers do not come back together."""
    return min(2.0 ** min(row.claims - 1, 6), 60.0) * random.uniform(0.5, 1.0)


def while_mine(row: ProduceRequest, transition: Callable[[], None]) -> None:
    """Change a claimed row, unless another worker has claimed it since."""
    try:
        commits.run(transition)
    except Overtaken:
        log.warning("overtaken", request=row.pk, attempt=row.attempts)
    except LogError as error:
        # The lease runs out by itself, and the request is claimed again.
        log.warning("transition failed", request=row.pk, error=str(error))
