"""Wrong guesses are counted by address, each for a minute, and the memory for that is bounded."""

import pytest

from core import wrong_guesses
from core.wrong_guesses import Guesses

pytestmark = pytest.mark.no_database


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(wrong_guesses, "time", clock)
    return clock


def test_it_works(clock: Clock) -> None:
    guesses = Guesses(lambda: 3)

    assert [guesses.count("a") for _ in range(4)] == [False, False, True, False]
    assert guesses.wait("a") == 60
    assert guesses.wait("b") == 0


def test_the_last_one_that_is_allowed_is_the_first_that_waits(clock: Clock) -> None:
    guesses = Guesses(lambda: 1)

    assert guesses.wait("a") == 0
    assert guesses.count("a")
    assert guesses.wait("a") == 60


def test_a_minute_begins_with_the_first_guess(clock: Clock) -> None:
    guesses = Guesses(lambda: 2)
    guesses.count("a")
    clock.now += 59
    assert guesses.count("a")
    assert guesses.wait("a") == 1
    clock.now += 1

    assert guesses.wait("a") == 0
    assert not guesses.count("a")
    assert guesses.count("a")


def test_no_limit_is_none(clock: Clock) -> None:
    guesses = Guesses(lambda: 0)

    assert not any(guesses.count("a") for _ in range(100))
    assert guesses.wait("a") == 0


def test_those_that_guessed_longest_ago_make_room(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrong_guesses, "MOST_ADDRESSES", 2)
    guesses = Guesses(lambda: 1)
    for address in ("a", "b", "a", "c"):
        guesses.count(address)

    assert [address for address in "abc" if guesses.wait(address)] == ["a", "c"]


def test_it_forgets(clock: Clock) -> None:
    guesses = Guesses(lambda: 1)
    guesses.count("a")
    guesses.forget()

    assert guesses.wait("a") == 0
