"""A private PostgreSQL for the tests: made in a temporary folder, owned by nobody important, gone afterwards.

`python -m tests.postgres ARGUMENTS` runs pytest on it.
"""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

import psycopg

ROOT = Path(__file__).resolve().parent.parent
# Debian keeps the server's programs out of the PATH.
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
FAST = (
    # A test that kills the database kills its process, not the machine; fsync itself stays on, as the product demands.
    "-c wal_level=minimal -c max_wal_senders=0 -c max_connections=200 -c shared_buffers=64MB "
    "-c autovacuum_naptime=5s -c unix_socket_directories= -c listen_addresses=127.0.0.1"
)


class PostgresServer:
    """PostgreSQL on a port of its own; the superuser is `takhin`, without a password."""

    def __init__(self) -> None:
        shared_memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="takhin-pg-", dir=shared_memory if shared_memory.is_dir() else None))
        self.port = free_port()
        # PostgreSQL refuses to run as root.
        self._user = pwd.getpwnam("postgres").pw_name if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._bin = PROGRAMS[-1]

    def url(self, database: str = "postgres") -> str:
        return f"postgres://takhin@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> "PostgresServer":
        self._run("initdb", "-D", str(self.folder / "data"), "-U", "takhin", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        options = f"-p {self.port} {FAST}"
        self._run(
            "pg_ctl", "start", "-w", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-o", options
        )

    def stop(self, how: str = "immediate") -> None:
        self._run("pg_ctl", "stop", "-w", "-m", how, "-D", str(self.folder / "data"))

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), *arguments]
        subprocess.run(command, user=self._user, cwd=self.folder, check=True, stdout=subprocess.DEVNULL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def create_database(url: str, name: str) -> str:
    """A database of this name on the server that `url` leads to, made unless it is there; its own URL."""
    with psycopg.connect(f"{url.rpartition('/')[0]}/postgres", autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            connection.execute(f'CREATE DATABASE "{name}"')
    return f"{url.rpartition('/')[0]}/{name}"


def main() -> int:
    with PostgresServer() as server:
        command = [sys.executable, "-m", "pytest", *sys.argv[1:]]
        environment = {**os.environ, "DATABASE_URL": create_database(server.url(), "takhin")}
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
