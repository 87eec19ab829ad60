"""Complete Django's settings of a database: how long anything waits for it, and who may read its files."""

from pathlib import Path
from typing import Any

from takhin_site import private

Settings = dict[str, Any]


def is_sqlite(database: Settings) -> bool:
    return bool(database["ENGINE"] == "django.db.backends.sqlite3")


def sqlite(database: Settings, busy_seconds: float, test_file: Path) -> Settings:
    """Return the settings of an SQLite file, which is made accessible to its owner only."""
    private.keep(private.database_files(database["NAME"]))
    return {
        **database,
        "ENGINE": "core.database.engines.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": busy_seconds,
            # synchronous is set per connection, so every process must set it.
            "init_command": "PRAGMA synchronous=FULL;PRAGMA foreign_keys=ON;PRAGMA journal_size_limit=67108864;",
        },
        "CONN_MAX_AGE": None,
        # The writer thread has its own connection, so tests need a file too.
        "TEST": {"NAME": str(test_file)},
    }


def postgresql(database: Settings, pool_size: int) -> Settings:
    """Return the settings of a PostgreSQL database, with those of its URL."""
    of_url = database.get("OPTIONS", {})
    return {
        **database,
        "ENGINE": "core.database.engines.postgresql",
        "OPTIONS": {
            "application_name": "takhin",
            # Notice a server that disappeared silently within half a minute.
            "connect_timeout": 5,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
            **of_url,
            # Reconnect within seconds after an outage, without doubling the wait to minutes.
            "pool": {"min_size": 1, "max_size": pool_size, "timeout": 1, "reconnect_timeout": 5},
            # In milliseconds. Nothing may hold a lock or a transaction forever.
            "options": "-c lock_timeout=10000 -c statement_timeout=30000 -c idle_in_transaction_session_timeout=10000 "
            rf"-c default_transaction_isolation=read\ committed {of_url.get('options', '')}",
        },
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
    }
