"""Wake the workers of other servers that share a PostgreSQL, with LISTEN and NOTIFY.

The processes of one server wake each other through pipes. Notifications may be lost; workers also look by themselves.
"""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog
from django.db import connection

from core import wakeups
from core.database.statements import is_sqlite

if TYPE_CHECKING:
    # PostgreSQL's driver is optional.
    import psycopg

log = structlog.get_logger("takhin.database")
# Committing a notification takes a lock that all others wait for, so there are few, each for everything before it.
PAUSE_SECONDS = 0.05
# How long to wait before the next attempt to connect.
AGAIN_SECONDS = 1.0

_wanted = threading.Event()


def work_arrived() -> None:
    """Tell other servers soon that requests wait for a worker."""
    _wanted.set()


def start(*, hears: bool) -> None:
    """Start to tell others, and to hear them if this process has workers. Does nothing on SQLite."""
    if is_sqlite():
        return
    threading.Thread(target=_forever, args=[_tell], name="takhin-notify", daemon=True).start()
    if hears:
        threading.Thread(target=_forever, args=[_hear], name="takhin-listen", daemon=True).start()


def _forever(run: Callable[["psycopg.Connection[Any]"], None]) -> None:
    driver: Any = connection.Database  # type: ignore[attr-defined]
    parameters = {**connection.get_connection_params(), "autocommit": True}
    while True:
        try:
            # Outside the pool, because a session that listens is never given back.
            with driver.connect(**parameters) as session:
                run(session)
        except driver.Error as error:
            log.debug("no notifications", error=str(error).strip())
            time.sleep(AGAIN_SECONDS)


def _tell(session: "psycopg.Connection[Any]") -> None:
    while True:
        _wanted.wait()
        _wanted.clear()
        session.execute("NOTIFY takhin_work")
        time.sleep(PAUSE_SECONDS)


def _hear(session: "psycopg.Connection[Any]") -> None:
    session.execute("LISTEN takhin_work")
    # Some may have been missed.
    wakeups.wake_worker()
    for _ in session.notifies():
        wakeups.wake_worker()
