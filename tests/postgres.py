"""`python -m tests.postgres ARGUMENTS` runs pytest on a private PostgreSQL, without tests that have no use for it."""

import os
import re
import signal
import subprocess
import sys
from typing import Any

from devservers import ROOT
from devservers.postgres import PostgresServer, create_database

# What these are about is the same whatever the database. They run once, on SQLite.
SAME_ON_ANY_DATABASE = re.findall(
    r"\w+",
    """
    accessibility addresses admin_elsewhere admin_off architecture avro avro_limits avro_properties avro_values bench
    bodies browser clients compatibility compression configuration errors formats garbage generated_clients headers
    json kafka_configuration media_types metrics monitoring openapi origins package paging parameters partitioner
    private readme receiving record_browser registry_bounds registry_broken registry_client registry_outside
    requirements roles schema_validity single_sign_on tenants topic_settings traces wrong_guesses
    """,
)


def main() -> int:
    with PostgresServer() as server:
        environment = {**os.environ, "DATABASE_URL": create_database(server.url(), "takhin")}
        left_out = [f"--ignore=tests/test_{name}.py" for name in SAME_ON_ANY_DATABASE]
        command = [sys.executable, "-m", "pytest", *left_out, *sys.argv[1:]]
        # In a session of its own, so that a Ctrl-C reaches it once, from here, and it ends its own servers.
        child = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)

        def interrupt(*_: Any) -> None:
            child.send_signal(signal.SIGINT)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, interrupt)
        return child.wait()


if __name__ == "__main__":
    sys.exit(main())
