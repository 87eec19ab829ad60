"""`python -m tests.postgres ARGUMENTS` runs pytest on a private PostgreSQL."""

import os
import signal
import subprocess
import sys
from typing import Any

from devservers import ROOT
from devservers.postgres import PostgresServer, create_database


def main() -> int:
    with PostgresServer() as server:
        environment = {**os.environ, "DATABASE_URL": create_database(server.url(), "takhin")}
        command = [sys.executable, "-m", "pytest", *sys.argv[1:]]
        # In a session of its own, so that a Ctrl-C reaches it once, from here, and it ends its own servers.
        child = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)

        def interrupt(*_: Any) -> None:
            child.send_signal(signal.SIGINT)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, interrupt)
        return child.wait()


if __name__ == "__main__":
    sys.exit(main())
