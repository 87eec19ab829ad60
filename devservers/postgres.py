"""A private PostgreSQL: made in a temporary folder, owned by nobody important, gone afterwards."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

import psycopg

from devservers import free_port

# Debian keeps the server's programs out of the PATH.
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
MEMORY = Path("/dev/shm")
MEMORY_NEEDED = 2 * 1024**3
OPTIONS = (
    # A test that kills the database kills its process, not the machine; fsync itself stays on, as the product demands.
    "-c wal_level=minimal -c max_wal_senders=0 -c max_wal_size=256MB -c max_connections=200 -c shared_buffers=64MB "
    "-c unix_socket_directories= -c listen_addresses=127.0.0.1"
)


class PostgresServer:
    """PostgreSQL on a port of its own; the superuser is `takhin`, without a password."""

    def __init__(self) -> None:
        if not PROGRAMS:
            sys.exit("PostgreSQL is not installed: apt-get install postgresql")
        in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_NEEDED
        self.folder = Path(tempfile.mkdtemp(prefix="takhin-pg-", dir=MEMORY if in_memory else None))
        self.port = free_port()
        # PostgreSQL refuses to run as root, and Debian's package has made this user.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(self.folder, self._user)

    def url(self, database: str = "postgres") -> str:
        return f"postgres://takhin@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> "PostgresServer":
        try:
            self._run("initdb", "--username=takhin", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def start(self) -> None:
        self._run("pg_ctl", "start", "-w", "-l", str(self.folder / "log"), "-o", f"-p {self.port} {OPTIONS}")

    def crash(self) -> None:
        """End without a checkpoint, as a crash would; `start` recovers."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate")

    def _remove(self) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            self.crash()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(PROGRAMS[-1] / program), "-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, user=self._user, cwd=self.folder, check=True, stdout=subprocess.DEVNULL)


def create_database(url: str, name: str) -> str:
    """A database of this name on the server that `url` leads to, made unless it is there; its own URL."""
    server = url.rpartition("/")[0]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            connection.execute(f'CREATE DATABASE "{name}"')
    return f"{server}/{name}"
