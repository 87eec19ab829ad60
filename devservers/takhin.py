"""A real server in a process of its own, on a port and a data folder of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import requests

from devservers import ROOT, free_port
from devservers.postgres import create_database


def database_of(folder: Path) -> str:
    """The database of a data folder: SQLite inside it, or one of its own on the PostgreSQL of DATABASE_URL."""
    url = os.environ.get("DATABASE_URL", "")
    return create_database(url, f"takhin_{zlib.crc32(bytes(folder)):08x}") if url.startswith("postgres") else url


class LiveServer:
    """`manage.py serve` as users run it. `environment` adds to or overrides TAKHIN_ variables."""

    # What to put into a new data folder. That takes less time than to migrate a database and to hash a password.
    template: Path | None = None

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "TAKHIN_DATA_DIR": str(folder),
            "TAKHIN_PORT": str(self.port),
            "TAKHIN_REQUIRE_API_KEY": "false",
            "DATABASE_URL": database_of(folder),
            **environment,
        }
        self.log = folder / "server.log"
        self.http = requests.Session()
        self.root = ROOT
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, command: str = "serve", *arguments: str) -> list[str]:
        return [sys.executable, "manage.py", command, *arguments]

    def start(self, *arguments: str, status: int = 200) -> "LiveServer":
        """Start and wait until it is ready, or answers that with another status."""
        self.launch(*arguments)
        try:
            self.wait_until_ready(status)
        except BaseException:
            self.kill()
            raise
        return self

    def launch(self, *arguments: str) -> None:
        """Start without waiting for anything."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._prepare()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command("serve", *arguments),
                cwd=self.root,
                env=self.environment,
                stdout=log,
                stderr=log,
                # A group of its own, so that a kill -9 reaches the worker process too.
                start_new_session=True,
            )

    def _prepare(self) -> None:
        has_own = any(self.folder.iterdir()) or self.environment["DATABASE_URL"]
        # The template has the admin's user.
        if self.template is not None and not has_own and self.environment.get("TAKHIN_ADMIN") != "false":
            shutil.copytree(self.template, self.folder, dirs_exist_ok=True)

    def launch_worker(self, **environment: str) -> "subprocess.Popen[bytes]":
        """Start a worker of its own on this server's data."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command("run_produce_worker"),
                cwd=self.root,
                env={**self.environment, **environment},
                stdout=log,
                stderr=log,
            )

    def wait_until_ready(self, status: int = 200) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self._process is None or self._process.poll() is None, self.log.read_text()
            try:
                if requests.get(f"{self.url}/api/health/ready", timeout=5).status_code == status:
                    return
            except requests.ConnectionError:
                time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def saw(self, text: str) -> bool:
        """Whether the server prints this, waiting a while for it."""
        deadline = time.monotonic() + 30
        while text not in self.log.read_text():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def manage(self, *arguments: str) -> str:
        """Run a management command on this server's data and return its output."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def kill(self) -> None:
        """kill -9, as a crash would."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> int:
        """Ctrl-C, and the exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        return self._process.wait(30)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def terminate(self) -> int:
        """SIGTERM, as an orchestrator does, and the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def process_ids(self) -> list[int]:
        """The server's process and the worker process that it forked."""
        assert self._process is not None
        parent = self._process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [parent, *(int(child) for child in children if _is_running(child))]

    def create_topic(self, name: str, partitions: int = 3) -> "LiveServer":
        answer = self.http.post(f"{self.url}/api/topics", json={"name": name, "partitions": partitions}, timeout=10)
        assert answer.status_code == 201, answer.text
        return self

    def produce(self, topic: str, records: list[Any], **parameters: str) -> requests.Response:
        return self.http.post(
            f"{self.url}/api/topics/{topic}/produce", json={"records": records}, params=parameters, timeout=60
        )

    def read(self, topic: str, partition: int) -> list[Any]:
        """Every record of a partition."""
        records: list[Any] = []
        while True:
            answer = self.http.get(
                f"{self.url}/api/topics/{topic}/messages",
                params={"partition": partition, "offset": len(records), "limit": 1000},
                timeout=30,
            )
            assert answer.status_code == 200, answer.text
            if not answer.json():
                return records
            records += answer.json()


def _is_running(pid: str) -> bool:
    """Whether the process has a command line, which one that has ended loses before its parent reaps it."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    # Reading it raises one or the other once the parent has.
    except (FileNotFoundError, ProcessLookupError):
        return False
