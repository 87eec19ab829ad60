"""Use the SQLite of the pysqlite3 wheel instead of Python's own, and decide on the journal mode.

Linux distributions link Python to versions of SQLite that may corrupt a WAL database in a rare race. pysqlite3 is the
standard library's module, built with a current SQLite. Where there is no wheel, the standard module stays. Settings
import this before anything imports sqlite3.
"""

import contextlib
import sys

with contextlib.suppress(ImportError):
    import pysqlite3
    import pysqlite3.dbapi2

    sys.modules["sqlite3"] = pysqlite3
    sys.modules["sqlite3.dbapi2"] = pysqlite3.dbapi2

import sqlite3

VERSION = sqlite3.sqlite_version_info
NAME = sqlite3.sqlite_version


def is_free_of_wal_reset_bug(version: tuple[int, int, int]) -> bool:
    """Whether WAL is safe: https://sqlite.org/wal.html#walresetbug, fixed in 3.51.3 and two back-ports."""
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0)


# The fastest mode that is safe. TRUNCATE is as durable.
BEST_JOURNAL = "WAL" if is_free_of_wal_reset_bug(VERSION) else "TRUNCATE"
