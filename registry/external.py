"""Tell whether this server uses an external schema registry."""

from urllib.parse import urlsplit

from django.conf import settings

from registry import errors


def is_external() -> bool:
    return bool(settings.SCHEMA_REGISTRY_URL)


def check_built_in() -> None:
    """Raise BuiltInDisabled if the server uses an external registry."""
    if is_external():
        raise errors.BuiltInDisabled(without_credentials(settings.SCHEMA_REGISTRY_URL))


def without_credentials(urls: str) -> str:
    """Return the comma-separated registry URLs without user names, passwords and query strings."""
    parts = [urlsplit(url.strip()) for url in urls.split(",")]
    return ", ".join(f"{part.scheme}://{part.netloc.rpartition('@')[2]}{part.path}" for part in parts)
