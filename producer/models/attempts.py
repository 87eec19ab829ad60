"""The earlier attempts of a request, as its row keeps them."""

from datetime import UTC, datetime

import msgspec

# An outage may last for hours, with an attempt every minute. Equal ones in a row are counted instead.
MOST_KEPT = 20


class Attempt(msgspec.Struct, omit_defaults=True):
    """Why an attempt to write the request failed. `times` is how many such attempts there were in a row, until `at`.

    `retried_by` is the user who had the request written again.
    """

    at: datetime
    code: str
    error: str
    times: int = 1
    retried_by: str = ""


def attempts_in(earlier: str) -> list[Attempt]:
    return msgspec.json.decode(earlier, type=list[Attempt]) if earlier else []


def with_attempt(earlier: str, code: str, error: str, at: datetime | None = None, retried_by: str = "") -> str:
    """Return the text with another attempt, which ended now by default."""
    attempts = attempts_in(earlier)
    new = Attempt(at or datetime.now(UTC), code, error, retried_by=retried_by)
    last = attempts[-1] if attempts else None
    if last is not None and (last.code, last.error, last.retried_by) == (code, error, ""):
        attempts[-1] = msgspec.structs.replace(new, times=last.times + (not retried_by))
    else:
        attempts.append(new)
    return msgspec.json.encode(attempts[-MOST_KEPT:]).decode()
