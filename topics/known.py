"""Remember in the data folder which databases have held a log, and warn when one of them is found empty."""

import contextlib
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.db import connection

log = structlog.get_logger("takhin.database")


def warn_if_lost(**_: Any) -> None:
    """Before the tables are made: a database that had them before was replaced, and offsets will begin at 0 again."""
    if _name() in _known() and not connection.introspection.table_names():
        log.warning(
            "the database is empty, and was not before: offsets begin at 0 again; unless that is what you want, "
            "stop the server and restore the database",
            database=_name(),
        )


def remember(**_: Any) -> None:
    """After the tables are made."""
    # A folder that cannot be written is told by those who need it.
    with contextlib.suppress(OSError):
        if _name() not in _known():
            with _file().open("a") as file:
                file.write(_name() + "\n")


def _known() -> list[str]:
    try:
        return _file().read_text().splitlines()
    except OSError:
        return []


def _file() -> Path:
    return Path(settings.TAKHIN_DATA_DIR) / "known-databases"


def _name() -> str:
    of = connection.settings_dict
    return f"{connection.vendor} {of['HOST']}:{of['PORT']}/{of['NAME']}" if of["HOST"] else str(of["NAME"])
