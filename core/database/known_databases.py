"""Remember in the data directory which databases have held a log, and warn if one of them is empty."""

import contextlib
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.db import connection

log = structlog.get_logger("takhin.database")


def warn_if_lost(**_: Any) -> None:
    """Warn, before the tables are created, if the database had them before: its offsets will start at 0 again."""
    if _name() in _known() and not connection.introspection.table_names():
        log.warning(
            "the database is empty, and was not before: offsets begin at 0 again; unless that is what you want, "
            "stop the server and restore the database",
            database=_name(),
        )


def remember(**_: Any) -> None:
    """Note the database, after the tables are created."""
    # Code that needs the directory reports that it is not writable.
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
