"""Hash one password at a time, and reject passwords that only look long."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.core.exceptions import ValidationError

# A hash keeps one core busy for about half a second, so one at a time leaves the other cores to the API.
AT_ONCE = 1
# Each waiting request holds a server thread. With 3 of them the last waits for 3 hashes, which WAIT_SECONDS covers.
WAITING = 3
WAIT_SECONDS = 3.0
REPEATED = re.compile(r"(.{1,16}?)\1+.{0,3}", re.DOTALL)
SEPARATOR = re.compile(r"[\W_]+")

_places = threading.BoundedSemaphore(AT_ONCE + WAITING)
_turns = threading.BoundedSemaphore(AT_ONCE)


class HashingBusy(Exception):
    """Too many passwords are being hashed. The same request may succeed in a few seconds."""


class BoundedHasher(PBKDF2PasswordHasher):
    """Django's default hasher, limited to one hash at a time.

    Every login, new password and unknown user goes through it. Raises HashingBusy if too many others are waiting.
    """

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        with _turn():
            return super().encode(password, salt, iterations)


@contextmanager
def _turn() -> Iterator[None]:
    if not _places.acquire(blocking=False):
        raise HashingBusy
    try:
        if not _turns.acquire(timeout=WAIT_SECONDS):
            raise HashingBusy
        try:
            yield
        finally:
            _turns.release()
    finally:
        _places.release()


def is_full() -> bool:
    """Whether another password would be rejected now. Checking this first saves the rest of a login."""
    if not _places.acquire(blocking=False):
        return True
    _places.release()
    return False


class NotRepeatedValidator:
    """Rejects a repeated short word, such as `passwordpassword`, which lists of common passwords miss."""

    def validate(self, password: str, user: object = None) -> None:
        if REPEATED.fullmatch(password) or REPEATED.fullmatch(SEPARATOR.sub("", password)):
            raise ValidationError(self.get_help_text(), code="password_repeated")

    def get_help_text(self) -> str:
        return "Your password can't be one short word repeated."
