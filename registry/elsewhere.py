"""Whether this server takes its schemas from another registry, and from which."""

from urllib.parse import urlsplit

from django.conf import settings

from registry import errors


def is_elsewhere() -> bool:
    return bool(settings.SCHEMA_REGISTRY_URL)


def check_here() -> None:
    """Raise ServedElsewhere when the registry in this database is not in use."""
    if is_elsewhere():
        raise errors.ServedElsewhere(without_credentials(settings.SCHEMA_REGISTRY_URL))


def without_credentials(urls: str) -> str:
    """The addresses of a registry, comma-separated, without the user, password and query that one may hold."""
    parts = [urlsplit(url.strip()) for url in urls.split(",")]
    return ", ".join(f"{part.scheme}://{part.netloc.rpartition('@')[2]}{part.path}" for part in parts)
