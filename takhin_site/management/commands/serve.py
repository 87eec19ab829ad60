"""Run the server: migrations, the admin's user, HTTP, and the workers inside it."""

import fcntl
import io
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core import checks
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection, connections

from producer import background
from takhin_site.server import serving, supervisor
from topics import commits
from topics.logs import current_log

ADMIN = "admin"
# Beside the longest that a request waits for the log and the longest that a worker is waited for.
GRACE_SECONDS = 5
BACKLOG = 4096
# The number of an advisory lock in PostgreSQL: "takhin" in ASCII.
MIGRATING = 0x74616B68696E


class Command(BaseCommand):
    help = "Migrate the database, serve the API and the admin on TAKHIN_HOST:TAKHIN_PORT, and run the workers."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--demo", action="store_true", help="create the topic demo and write three records to it")

    def handle(self, *args: Any, **options: Any) -> None:
        # Before anything is changed.
        listener = bind(settings.TAKHIN_HOST, settings.TAKHIN_PORT)
        prepare_database(settings.TAKHIN_DATA_DIR / "admin-password")
        has_demo = options["demo"] and self.made_demo_topic()
        if not settings.TAKHIN_REQUIRE_API_KEY:
            self.stderr.write(self.style.WARNING(OPEN.format(host=settings.TAKHIN_HOST)))
        # The serving process is forked from this one, and neither connections nor threads go over a fork whole.
        current_log().close()
        commits.close()
        connections.close_all()
        listen(listener)
        started = start_demo if has_demo else lambda: None
        grace = settings.TAKHIN_PRODUCE_TIMEOUT + background.STOP_SECONDS + GRACE_SECONDS
        sys.exit(supervisor.run(listener, serve, started, grace))

    def made_demo_topic(self) -> bool:
        """Async requests are taken while the log is away, so that a demo must not keep the server from starting."""
        try:
            call_command("create_topic", "demo", partitions=3, if_not_exists=True, stdout=io.StringIO())
        except CommandError as error:
            self.stderr.write(self.style.WARNING(f"Skipping the demo: {error}"))
            return False
        return True


OPEN = (
    "OPEN: no API key is required, because the server listens on {host} only. "
    "Set TAKHIN_REQUIRE_API_KEY=true to require keys."
)


def bind(host: str, port: int) -> socket.socket:
    """A socket of this address. Raises CommandError when another server has it."""
    with cannot_listen(host, port):
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        return listener


def listen(listener: socket.socket) -> None:
    """Only now: what connects while the database is migrated would hang. Raises CommandError."""
    with cannot_listen(*listener.getsockname()[:2]):
        listener.listen(BACKLOG)


@contextmanager
def cannot_listen(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"cannot listen on {host}:{port} (TAKHIN_HOST, TAKHIN_PORT): {error.strerror}") from error


def prepare_database(password_file: Path) -> None:
    """Judge the database, migrate it, and make its first user. Raises CommandError."""
    try:
        reach_database()
        judge_database()
        with one_at_a_time():
            call_command("migrate", verbosity=0)
            if settings.TAKHIN_ADMIN:
                make_admin(password_file)
    except DatabaseError as error:
        reason = " ".join(str(error).split())
        raise CommandError(f"cannot use the database (DATABASE_URL, TAKHIN_DATA_DIR): {reason}") from error


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait for other servers of the same database that start at this moment: a migration runs once."""
    if connection.vendor != "postgresql":
        with (settings.TAKHIN_DATA_DIR / "migrating.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    with connection.cursor() as cursor:
        # Nor may a migration of a large table be cut short.
        cursor.execute("SET statement_timeout = 0; SET lock_timeout = 0")
        cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATING])
    try:
        yield
    finally:
        # The lock ends with the connection, which no pool may keep.
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]


def reach_database() -> None:
    """Connect once beside the pool, which would only say that it timed out. Raises DatabaseError."""
    if connection.vendor == "postgresql":
        with connection.wrap_database_errors:
            connection.Database.connect(**connection.get_connection_params()).close()  # type: ignore[attr-defined]


def judge_database() -> None:
    """Raise CommandError unless the database keeps what it acknowledges."""
    found = checks.run_checks(tags=[checks.Tags.database], databases=["default"])
    wrong = [str(message.msg) for message in found if message.level >= checks.WARNING]
    if wrong:
        raise CommandError("; ".join(wrong))


def make_admin(password_file: Path) -> None:
    """Make the user admin once, with a password kept in the data folder for its owner alone."""
    users = get_user_model().objects
    if users.filter(username=ADMIN).exists():
        return
    password = secrets.token_urlsafe(15)
    with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(password + "\n")
    users.create_superuser(ADMIN, password=password)


def serve(listener: socket.socket, parent: int) -> None:
    """Serve in this process, and end what it started in order: HTTP, workers, the log."""
    # Starts the workers, so that it is imported where they are to run.
    from takhin_site.wsgi import application

    serving.serve(application, listener, parent)
    background.stop()
    current_log().close()


def start_demo() -> None:
    """In the same process group, so that Ctrl-C ends it too."""
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "demo"]
    subprocess.Popen(command, preexec_fn=heed_signals)


def heed_signals() -> None:
    """Undo what the supervisor blocks for itself; with a handler of this process a signal before the exec is lost."""
    for number in supervisor.STOP:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, supervisor.STOP)
