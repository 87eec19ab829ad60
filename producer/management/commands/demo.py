"""Greet the user of `make run`: fill the topic demo over HTTP, show its records, and suggest what to try next."""

import http.client
import json
import shlex
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from core.database import transactions
from producer.models import ApiKey

READY_WITHIN_SECONDS = 30.0
RECORDS: list[dict[str, Any]] = [
    {"key": "user-1", "value": {"event": "signup", "amount": 1.10}},
    {"key": "user-2", "value": {"event": "login"}},
    {"key": "user-1", "value": {"event": "login"}, "headers": [{"key": "source", "value": "demo"}]},
]


class Command(BaseCommand):
    help = "Write three records to the running server's topic demo if it is empty, and print what to try next."

    def handle(self, *args: Any, **options: Any) -> None:
        _wait_until_ready()
        headers = {"Content-Type": "application/json"}
        if settings.TAKHIN_REQUIRE_API_KEY:
            headers["Authorization"] = f"Bearer {_short_lived_key()}"
        partitions = _expect("GET", "/api/topics/demo", None, headers)["partitions"]
        filled = [partition for partition in partitions if partition["firstOffset"] != partition["highWaterMark"]]
        self.stdout.write("\n".join(_found(filled) if filled else _written(headers)))
        self.stdout.write(_guide())


def _found(partitions: list[dict[str, Any]]) -> list[str]:
    places = (
        f"  partition {one['id']}, offsets {one['firstOffset']} to {one['highWaterMark'] - 1}" for one in partitions
    )
    return ["\nThe topic demo has records:", *places]


def _written(headers: dict[str, str]) -> list[str]:
    offsets = _expect("POST", "/api/topics/demo/produce", json.dumps({"records": RECORDS}), headers)["offsets"]
    places = (
        f"  {record['key']} -> partition {offset['partition']}, offset {offset['offset']}"
        for record, offset in zip(RECORDS, offsets, strict=True)
    )
    return ["\nThree records are in the topic demo:", *places]


def _expect(method: str, path: str, body: str | None, headers: dict[str, str]) -> Any:
    """Return the answer of a request that succeeds. Raises CommandError if it does not."""
    status, answer = _call(method, path, body, headers)
    if status != 200:
        raise CommandError(f"{method} {path} returned {status}: {answer}")
    return answer


def _address() -> str:
    host = settings.TAKHIN_HOST
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"[{host}]" if ":" in host else host


def _call(method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(_address(), settings.TAKHIN_PORT, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def _wait_until_ready() -> None:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while time.monotonic() < deadline:
        try:
            if _call("GET", "/api/health/ready")[0] == 200:
                return
        except OSError:
            time.sleep(0.05)
    raise CommandError(f"the server was not ready within {READY_WITHIN_SECONDS:.0f} seconds")


def _short_lived_key() -> str:
    key = ApiKey(name="demo", scopes="produce,read", topics="demo", expires_at=timezone.now() + timedelta(minutes=1))
    secret = key.issue_secret()
    transactions.commit(key.save)
    return secret


def _password() -> str:
    """Return the generated password of the user admin, unless it was changed."""
    password = (settings.TAKHIN_DATA_DIR / "admin-password").read_text().strip()
    user = get_user_model().objects.filter(username="admin").first()
    if user is not None and user.check_password(password):
        return f"password {password}"
    return "whose password was changed: takhin changepassword admin sets another one"


def _guide() -> str:
    base = f"http://{_address()}:{settings.TAKHIN_PORT}"
    admin = ""
    if settings.TAKHIN_ADMIN:
        admin = f"\nAdmin    {base}/admin/   user admin, {_password()}"
    key = " -H 'Authorization: Bearer KEY'" if settings.TAKHIN_REQUIRE_API_KEY else ""
    program = ".venv/bin/python manage.py" if Path(sys.argv[0]).name == "manage.py" else "takhin"
    if settings.TAKHIN_DATA_DIR != settings.BASE_DIR / "data":
        # Another terminal may not have the variable.
        program = f"TAKHIN_DATA_DIR={shlex.quote(str(settings.TAKHIN_DATA_DIR))} {program}"
    hint = f"  Create a KEY with: {program} create_api_key NAME\n" if key else ""
    return f"""
API      {base}/
Swagger  {base}/swagger/{admin}

Try it:
  curl {base}/api/topics/demo/produce{key} -d '{{"records":[{{"value":"hello"}}]}}'
{hint}
Ctrl-C stops the server."""
