import json
from datetime import timedelta
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from core import audit
from core.commands import OutputCommand
from core.database import transactions
from core.durations import parse_duration
from producer.models import ApiKey, Scope


class Command(OutputCommand):
    help = "Create an API key and print its secret on the last line. The secret is shown only once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--scopes", default=",".join(Scope.values), help="comma-separated (default: all)")
        parser.add_argument(
            "--topics", default="*", help="comma-separated names, or prefixes ending in * (default: all)"
        )
        parser.add_argument(
            "--expires", type=parse_duration, metavar="90d", help="a number with a unit: s, m, h or d (default: never)"
        )

        for unit in ("requests", "records", "bytes"):
            parser.add_argument(
                f"--{unit}-per-second", type=int, metavar="N", help=f"most {unit} per second (default: the server's)"
            )
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> str:
        expires = options["expires"]
        if expires == timedelta(0):
            raise CommandError("--expires must be longer than 0")
        key = ApiKey(
            name=options["name"],
            scopes=options["scopes"].replace(" ", ""),
            topics=options["topics"].replace(", ", ","),
            requests_per_second=options["requests_per_second"],
            records_per_second=options["records_per_second"],
            bytes_per_second=options["bytes_per_second"],
            expires_at=None if expires is None else timezone.now() + expires,
        )
        secret = key.issue_secret()
        try:
            key.full_clean()
        except ValidationError as error:
            raise CommandError("; ".join(_sentences(error))) from error
        transactions.commit(key.save)
        audit.note("key_created", "key", key.prefix, called=key.name, scopes=key.scopes, topics=key.topics)
        if options["json"]:
            return json.dumps({"prefix": key.prefix, "secret": secret, "expiresAt": key.expires_at}, default=str)
        until = f"until {key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else "until it is revoked"
        self.stderr.write(
            f"Created key {key.name}: scopes {key.scopes}, topics {key.topics}, valid {until}. "
            "Store the secret now: it is not shown again."
        )
        return secret


def _sentences(error: ValidationError) -> list[str]:
    fields = error.message_dict.items()
    return [texts[0] if name == NON_FIELD_ERRORS else f"{name}: {texts[0]}" for name, texts in fields]
