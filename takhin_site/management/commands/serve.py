"""Run the server: migrate, create the admin's user, serve HTTP, and run the workers."""

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

from core import audit, wakeups
from core.database import transactions
from core.database.checks import describe
from core.signals import STOP
from producer.queue import threads
from takhin_site.server import serving, supervisor
from topics.log import current_log

ADMIN = "admin"
# Added to the longest time that a request waits for the log, and to the time that workers get to stop.
GRACE_SECONDS = 5
BACKLOG = 4096
# The key of a PostgreSQL advisory lock: "takhin" in ASCII.
MIGRATING = 0x74616B68696E


class Command(BaseCommand):
    help = "Migrate the database, serve the API and the admin on TAKHIN_HOST:TAKHIN_PORT, and run the workers."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--demo", action="store_true", help="create the topic demo and, if it is empty, write three records to it"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        # Bind before changing anything.
        listeners = bind(settings.TAKHIN_HOST, settings.TAKHIN_PORT, settings.TAKHIN_PROCESSES)
        prepare_database(settings.TAKHIN_DATA_DIR / "admin-password")
        has_demo = options["demo"] and self.made_demo_topic()
        note_start()
        if not settings.TAKHIN_REQUIRE_API_KEY:
            self.stderr.write(self.style.WARNING(OPEN.format(host=settings.TAKHIN_HOST)))
        # The serving process is forked from this one, and connections and threads do not survive a fork.
        current_log().close()
        transactions.close()
        connections.close_all()
        listen(listeners)
        wakeups.connect(len(listeners))
        started = start_demo if has_demo else lambda: None
        grace = settings.TAKHIN_PRODUCE_TIMEOUT + threads.STOP_SECONDS + GRACE_SECONDS
        sys.exit(supervisor.run(listeners, serve, started, grace))

    def made_demo_topic(self) -> bool:
        """Create the demo's topic. Return whether it exists.

        A failure must not stop the server from starting, because it accepts async requests while the log is down.
        """
        try:
            call_command("create_topic", "demo", partitions=3, if_not_exists=True, stdout=io.StringIO())
        except CommandError as error:
            self.stderr.write(self.style.WARNING(f"Skipping the demo: {error}"))
            return False
        return True


# Who may call the server by which names.
ORIGINS = ("ALLOWED_HOSTS", "CORS_ALLOWED_ORIGINS", "CSRF_TRUSTED_ORIGINS")


def note_start() -> None:
    """Note the settings in the audit log, except secrets."""
    names = [name for name in dir(settings) if name.startswith("TAKHIN_") and not name.endswith("_SECRET")]
    values = {name: getattr(settings, name) for name in [*names, *ORIGINS]}
    plain = {name: value for name, value in values.items() if isinstance(value, bool | int | str | list | dict)}
    audit.note("server_started", "server", settings.VERSION, by=audit.SYSTEM, database=describe(), settings=plain)


OPEN = (
    "OPEN: no API key is required, because the server listens on {host} only. "
    "Set TAKHIN_REQUIRE_API_KEY=true to require keys."
)


def bind(host: str, port: int, count: int) -> list[socket.socket]:
    """Return a socket for each process, bound to this address. Raises CommandError if that fails."""
    with cannot_listen(host, port):
        listener = bound(host, port)
        if count == 1:
            return [listener]
        # Only a socket that does not share the address finds out that another server listens there.
        listener.close()
        return [bound(host, port, is_shared=True) for _ in range(count)]


def bound(host: str, port: int, is_shared: bool = False) -> socket.socket:
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_shared:
        # The kernel gives each new connection to one of the sockets.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(address)
    return listener


def listen(listeners: list[socket.socket]) -> None:
    """Start to listen. Not earlier, or clients that connect during the migration would hang. Raises CommandError."""
    for listener in listeners:
        with cannot_listen(*listener.getsockname()[:2]):
            listener.listen(BACKLOG)


@contextmanager
def cannot_listen(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"cannot listen on {host}:{port} (TAKHIN_HOST, TAKHIN_PORT): {error.strerror}") from error


def prepare_database(password_file: Path) -> None:
    """Check the database, migrate it, and create its first user. Raises CommandError."""
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
    """Hold a lock against other servers that start on the same database, so that only one runs the migrations."""
    if connection.vendor != "postgresql":
        with (settings.TAKHIN_DATA_DIR / "migrating.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    with connection.cursor() as cursor:
        # A timeout must not interrupt the migration of a large table.
        cursor.execute("SET statement_timeout = 0; SET lock_timeout = 0")
        cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATING])
    try:
        yield
    finally:
        # The connection holds the lock, so the pool must not keep it open.
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]


def reach_database() -> None:
    """Connect once outside the pool, which would only report a timeout. Raises DatabaseError."""
    if connection.vendor == "postgresql":
        with connection.wrap_database_errors:
            connection.Database.connect(**connection.get_connection_params()).close()  # type: ignore[attr-defined]


def judge_database() -> None:
    """Raise CommandError if the database may lose acknowledged commits."""
    found = checks.run_checks(tags=[checks.Tags.database], databases=["default"])
    wrong = [str(message.msg) for message in found if message.level >= checks.WARNING]
    if wrong:
        raise CommandError("; ".join(wrong))


def make_admin(password_file: Path) -> None:
    """Create the user admin once, and save its password in the data folder, readable only by the owner."""
    users = get_user_model().objects
    if users.filter(username=ADMIN).exists():
        return
    password = secrets.token_urlsafe(15)
    with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(password + "\n")
    users.create_superuser(ADMIN, password=password)


def serve(number: int, listener: socket.socket, parent: int) -> None:
    """Serve in this process, then stop in order: HTTP, the workers, the log."""
    wakeups.join(number)
    threads.choose(number, settings.TAKHIN_PROCESSES)
    # Importing it starts the workers, so it happens in the process that runs them.
    from takhin_site.wsgi import application

    serving.serve(application, listener, parent)
    threads.stop()
    current_log().close()
    transactions.close()


def start_demo() -> None:
    """Start the demo in the same process group, so that Ctrl-C stops it too."""
    # The first argument is manage.py or the script takhin.
    subprocess.Popen([sys.executable, sys.argv[0], "demo"], preexec_fn=heed_signals)


def heed_signals() -> None:
    """Reset the supervisor's signal handling, so that a signal before the exec is not lost."""
    for number in STOP:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
