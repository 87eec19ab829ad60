"""Kill this process at a named point, so that tests can show that a crash there neither loses nor duplicates anything.

`TAKHIN_CRASH_AT=commit.before:2` kills it when it reaches that point for the second time. Only tests may set it.
"""

import itertools
import os
import signal

POINTS = tuple(
    f"{step}.{moment}"
    for step in (
        "accept",
        "claim",
        "append",
        "commit",
        "outcome",
        "key",
        "purge",
        "kafka.begin",
        "kafka.send",
        "kafka.commit",
    )
    for moment in ("before", "after")
)
_chosen, _, _number = os.environ.get("TAKHIN_CRASH_AT", "").partition(":")
_reached = itertools.count(1)
if _chosen and _chosen not in POINTS:
    raise ValueError(f"TAKHIN_CRASH_AT must be one of {', '.join(POINTS)} and a number, got {_chosen!r}")


def at(point: str) -> None:
    """Die here if that is wanted. Threads may reach a point at the same time."""
    if point == _chosen and next(_reached) == int(_number or 1):
        os.kill(os.getpid(), signal.SIGKILL)
