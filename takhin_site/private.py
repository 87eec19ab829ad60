"""Keep files that hold records and secrets to their owner, whatever the mode of the folder they are in."""

import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

# Django's own check W009 asks for the same.
SECRET_LENGTH = 50
SECRET_DISTINCT = 5
TEMPLATE_PREFIX = "django-insecure-"
# SQLite's journals beside a database, and the lock by which processes take turns at it.
BESIDE_DATABASE = ("", "-journal", "-wal", "-shm", ".lock")
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def keep(paths: Iterable[Path]) -> None:
    """Take the files that exist from everyone but their owner. Raises ImproperlyConfigured."""
    for path in paths:
        try:
            # Not of a device, such as a database at /dev/null.
            if path.is_file() and path.stat().st_mode & OTHERS:
                path.chmod(0o600)
        except OSError as error:
            raise ImproperlyConfigured(
                f"{path} must be readable only by its owner, and changing its mode failed ({error.strerror}): "
                f"run chmod 600 {path}"
            ) from None


def database_files(name: str) -> list[Path]:
    return [Path(f"{name}{suffix}") for suffix in BESIDE_DATABASE]


def secret(path: Path) -> str:
    """The secret that a file keeps; made when it is missing, and never seen half written."""
    if not path.exists():
        draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
        _publish(draft, path)
    return path.read_text().strip()


def _publish(draft: Path, path: Path) -> None:
    """Give the draft its name, unless another process that starts at this moment was first."""
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    except OSError:
        # A file system without hard links.
        draft.replace(path)
    draft.unlink(missing_ok=True)


def judge_secret(name: str, value: str) -> str:
    """The value, if it is long enough to sign sessions. Raises ImproperlyConfigured, without the value."""
    if len(value) < SECRET_LENGTH or len(set(value)) < SECRET_DISTINCT:
        raise ImproperlyConfigured(
            f"{name} must be at least {SECRET_LENGTH} characters, {SECRET_DISTINCT} of them distinct, "
            f"got {len(value)} characters, {len(set(value))} of them distinct"
        )
    if value.startswith(TEMPLATE_PREFIX):
        raise ImproperlyConfigured(f"{name} must be your own secret, got one that starts with django-insecure-")
    return value
