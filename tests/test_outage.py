"""Who asks a database that does not answer is refused at once, by what one prober finds."""

import threading
import time
from collections.abc import Callable

import pytest

from core.database.driver_errors import DatabaseDown
from core.database.engines.outage import EVERY_SECONDS, Outage
from producer.queue import checkup
from tests.conftest import Api

NO_ANSWER = "database_unavailable"


class Server:
    """Stands in for a database; `reason` is what a probe of it finds."""

    def __init__(self) -> None:
        self.reason = ""
        self.probes = 0
        self.threads: set[int] = set()

    def probe(self) -> str:
        self.probes += 1
        self.threads.add(threading.get_ident())
        return self.reason


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.no_database
def test_it_works() -> None:
    server = Server()
    outage = Outage(server.probe)
    outage.admit()

    server.reason = NO_ANSWER
    for _ in range(20):
        outage.suspect()
    wait_until(lambda: outage.opened_at is not None)

    with pytest.raises(DatabaseDown, match=NO_ANSWER):
        outage.admit()
    server.reason = ""
    wait_until(lambda: outage.opened_at is None)
    outage.admit()
    assert len(server.threads) == 1


@pytest.mark.no_database
def test_nobody_is_probed_without_a_reason() -> None:
    server = Server()
    Outage(server.probe).watch()

    time.sleep(4 * EVERY_SECONDS)

    assert server.probes == 0


@pytest.mark.no_database
def test_what_is_over_soon_is_waited_for() -> None:
    server = Server()
    ended: list[bool] = []
    outage = Outage(server.probe, patience=3600, down=lambda: ended.append(True))
    server.reason = NO_ANSWER

    outage.suspect()
    wait_until(lambda: server.probes > 3)

    outage.admit()
    assert not ended


@pytest.mark.no_database
def test_what_answers_others_is_not_given_up() -> None:
    """A server that has no connection left for the prober still serves those that it has."""
    server = Server()
    is_answering = True

    def probe() -> str:
        if is_answering:
            outage.answered()
        return server.probe()

    outage = Outage(probe, patience=0.4, is_doubtful=lambda: True)
    server.reason = NO_ANSWER
    outage.suspect()
    wait_until(lambda: server.probes > 3)

    outage.admit()
    is_answering = False
    wait_until(lambda: outage.opened_at is not None)


def test_a_probe_does_not_wait_for_a_check_that_hangs(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each probe held a thread for as long as its check took; now one check runs, whoever asks."""
    may_end = threading.Event()
    runs: list[int] = []

    def hang() -> None:
        runs.append(1)
        may_end.wait(30)

    assert api.get("/api/health/ready").status_code == 200
    monkeypatch.setitem(checkup.CHECKS, "log", hang)
    monkeypatch.setattr(checkup, "ANSWER_SECONDS", 0.01)
    monkeypatch.setattr(checkup, "PATIENCE_SECONDS", 0.5)
    try:
        # A moment is no outage.
        assert api.get("/api/health/ready").status_code == 200
        time.sleep(0.6)
        answers = [api.get("/api/health/ready") for _ in range(10)]
    finally:
        may_end.set()

    assert {answer.status_code for answer in answers} == {503}
    assert answers[0].json()["failing"] == ["log"]
    assert answers[0].json()["reasons"]["log"].startswith("no response for ")
    assert len(runs) == 1
    monkeypatch.undo()
    wait_until(lambda: api.get("/api/health/ready").status_code == 200)
