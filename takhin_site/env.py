"""Turn environment variables into typed settings, or fail with a one-line message."""

import os
import re
from collections.abc import Iterable
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from core.durations import seconds_of

TRUE = ("1", "true", "yes", "on")
FALSE = ("0", "false", "no", "off")
DATABASES = ("sqlite", "postgres", "postgresql")
ROLES = ("Viewer", "Operator", "Admin")

# Variables that Kubernetes sets for a service named kafka, and that Kafka's own scripts use.
NOT_PROPERTIES = re.compile(r"KAFKA_(SERVICE_(HOST|PORT).*|PORT(_\d+_(TCP|UDP).*)?|HOME|[A-Z0-9_]*OPTS)")


# The variables that were read, and those that others read.
KNOWN = {"TAKHIN_CRASH_AT"}
# Of the example clients, which may run in the same environment.
NOT_OURS = {"TAKHIN_URL", "TAKHIN_KEY"}


def unknown() -> list[str]:
    """Return the TAKHIN_ variables that are set and that nothing reads."""
    given = {name for name in os.environ if name.startswith("TAKHIN_") and os.environ[name].strip()}
    return sorted(name for name in given - NOT_OURS if name.removesuffix("_FILE") not in KNOWN)


def text(name: str, default: str) -> str:
    """Return the variable's text, or the default if it is unset or empty."""
    KNOWN.add(name)
    return os.environ.get(name, "").strip() or _text_of_file(f"{name}_FILE") or default


def _text_of_file(name: str) -> str:
    """Return the content of the file that the variable names, for secrets that are mounted as files."""
    path = os.environ.get(name, "").strip()
    try:
        return Path(path).read_text().strip() if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise _refuse(name, path, f"a readable file ({error})") from None


def _refuse(name: str, value: str, expected: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{name} must be {expected}, got {value!r}")


def integer(name: str, default: int, minimum: int = 0, maximum: int = 2**31 - 1) -> int:
    value = text(name, str(default))
    if not re.fullmatch(r"\d{1,12}", value) or not minimum <= int(value) <= maximum:
        raise _refuse(name, value, f"a whole number from {minimum} to {maximum}")
    return int(value)


def processes(name: str, default: int) -> int:
    """Return a number of processes; `auto` is the number of cores that this process may use."""
    if text(name, str(default)) == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return integer(name, default, 1, 64)


def boolean(name: str, default: bool) -> bool:
    value = text(name, str(default)).lower()
    if value not in TRUE + FALSE:
        raise _refuse(name, value, "true or false")
    return value in TRUE


def choice(name: str, default: str, allowed: Iterable[str]) -> str:
    allowed = list(allowed)
    value = text(name, default)
    if value not in allowed:
        raise _refuse(name, value, f"one of {', '.join(allowed)}")
    return value


def duration(name: str, default: str, minimum: int = 0) -> int:
    """Return the seconds of a number with a unit, such as `90s`, `30m`, `24h` or `7d`, or of `0`."""
    value = text(name, default)
    seconds = 0 if value == "0" else seconds_of(value)
    if seconds is None:
        raise _refuse(name, value, "a number with a unit, such as 30s, 5m, 24h or 7d, or 0")
    if seconds < minimum:
        raise _refuse(name, value, f"at least {minimum}s")
    return seconds


def kafka_properties() -> dict[str, str]:
    """Return every KAFKA_ variable as a librdkafka property: `KAFKA_SASL_MECHANISM` sets `sasl.mechanism`."""
    names = {name.removesuffix("_FILE") for name in os.environ if re.match(r"KAFKA_[A-Z0-9_]+$", name)}
    given = {name: text(name, "") for name in sorted(names) if not NOT_PROPERTIES.fullmatch(name)}
    return {name.removeprefix("KAFKA_").lower().replace("_", "."): value for name, value in given.items() if value}


def words(name: str, default: str) -> list[str]:
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def credentials(name: str, default: str) -> str:
    """Return `USER:PASSWORD`, or empty text for none. The error message omits the value, which may be a secret."""
    value = text(name, default)
    if value and ":" not in value:
        raise _refuse(name, "…", "USER:PASSWORD")
    return value


def origins(name: str, may_be_any: bool = True) -> list[str]:
    """Return a comma-separated list of origins, such as `https://app.example.com`. `*` allows any origin."""
    values = words(name, "")
    for value in values:
        if not (may_be_any and value == "*") and not re.fullmatch(r"https?://[^/\s*]+", value):
            raise _refuse(name, value, "origins such as https://app.example.com, comma-separated")
    return values


def provider(name: str) -> str:
    """Return the issuer of an OpenID provider, or empty text for none."""
    value = text(name, "")
    if value and not re.fullmatch(r"(https://|http://(localhost|127\.0\.0\.1|\[::1\])[:/])[^\s?#@]+", value):
        raise _refuse(name, value, "an address with https, such as https://login.example.com")
    if "/.well-known/" in value:
        raise _refuse(name, value, "the issuer's address, without /.well-known/openid-configuration")
    if value and find_spec("authlib") is None:
        raise ImproperlyConfigured(f"{name} turns on single sign-on, which requires: pip install '.[sso]'")
    return value


def roles(name: str) -> dict[str, str]:
    """Return the roles by the values of a claim, from `VALUE=ROLE`, comma-separated."""
    pairs = [word.rpartition("=")[::2] for word in words(name, "")]
    found = dict(pairs)
    if len(found) < len(pairs) or not all(value and role in ROLES for value, role in pairs):
        expected = f"VALUE=ROLE, comma-separated, each value once, and each role one of {', '.join(ROLES)}"
        raise _refuse(name, text(name, ""), expected)
    return found


def networks(name: str) -> list[IPv4Network | IPv6Network]:
    """Return a comma-separated list of addresses and networks, such as `127.0.0.1, 10.0.0.0/8, ::1`."""
    values = words(name, "")
    try:
        return [ip_network(value, strict=False) for value in values]
    except ValueError:
        expected = "addresses or networks such as 127.0.0.1 or 10.0.0.0/8, comma-separated"
        raise _refuse(name, ",".join(values), expected) from None


def database(name: str, default_file: Path) -> dict[str, Any]:
    """Return Django's DATABASES entry for a URL such as `sqlite:////srv/takhin.sqlite3`."""
    url = text(name, "")
    if not url:
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(default_file)}
    scheme, separator, _ = url.partition("://")
    try:
        config: dict[str, Any] = dict(environ.Env.db_url_config(url)) if scheme in DATABASES else {}
    except Exception:
        config = {}
    if not config or config["NAME"] in ("", ":memory:"):
        # The URL may contain a password, so the message shows only its scheme.
        shown = f"{scheme[:20]}://…" if separator else "…"
        raise _refuse(name, shown, "sqlite:///FILE or postgres://USER:PASSWORD@HOST/NAME")
    if scheme != "sqlite" and find_spec("psycopg") is None:
        raise ImproperlyConfigured(f"{name} selects PostgreSQL, which requires its driver: pip install '.[postgres]'")
    return config


def data_folder(name: str, default: Path) -> Path:
    folder = Path(text(name, str(default))).expanduser().resolve()
    try:
        # It will contain records and secrets.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _refuse(name, str(folder), f"a writable folder ({error.strerror})") from None
    return folder


def refuse_crashes() -> None:
    """Raise ImproperlyConfigured if TAKHIN_CRASH_AT is set, unless pytest runs this process."""
    if os.environ.get("TAKHIN_CRASH_AT") and "PYTEST_VERSION" not in os.environ:
        raise ImproperlyConfigured("TAKHIN_CRASH_AT is for tests; unset it")
