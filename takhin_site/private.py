"""Make files with records and secrets readable only by their owner, whatever the mode of their folder."""

import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

# The same limits as Django's check security.W009.
SECRET_LENGTH = 50
SECRET_DISTINCT = 5
TEMPLATE_PREFIX = "django-insecure-"
# A database, SQLite's journals, and the lock file by which processes take turns.
BESIDE_DATABASE = ("", "-journal", "-wal", "-shm", ".lock")
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def keep(paths: Iterable[Path]) -> None:
    """Make the existing files accessible only to their owner. Raises ImproperlyConfigured."""
    for path in paths:
        try:
            # Skip devices, such as a database at /dev/null.
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
    """Return the secret in a file, generating it if the file is missing. It is never seen half written."""
    if not path.exists():
        draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
        _publish(draft, path)
    return path.read_text().strip()


def _publish(draft: Path, path: Path) -> None:
    """Give the draft its final name, unless another process was first."""
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    except OSError:
        # The file system has no hard links.
        draft.replace(path)
    draft.unlink(missing_ok=True)


def judge_secret(name: str, value: str) -> str:
    """Return the value if it is strong enough to sign sessions. Raises ImproperlyConfigured, without the value."""
    if len(value) < SECRET_LENGTH or len(set(value)) < SECRET_DISTINCT:
        raise ImproperlyConfigured(
            f"{name} must be at least {SECRET_LENGTH} characters, {SECRET_DISTINCT} of them distinct, "
            f"got {len(value)} characters, {len(set(value))} of them distinct"
        )
    if value.startswith(TEMPLATE_PREFIX):
        raise ImproperlyConfigured(f"{name} must be your own secret, got one that starts with django-insecure-")
    return value
