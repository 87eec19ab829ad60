from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from producer.durations import parse_duration
from producer.models import ApiKey, Scope, check_patterns, check_scopes
from topics import commits


class Command(BaseCommand):
    help = "Make an API key and print its secret, alone on the last line. It is shown this once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--scopes", default=",".join(Scope.values), help="comma-separated (default: all)")
        parser.add_argument("--topics", default="*", help="names or prefixes with *, comma-separated (default: all)")
        parser.add_argument("--expires", type=parse_duration, metavar="90d", help="a number with s, m, h or d")

    def handle(self, *args: Any, **options: Any) -> str:
        expires = options["expires"]
        key = ApiKey(
            name=options["name"],
            scopes=options["scopes"],
            topics=options["topics"],
            expires_at=None if expires is None else timezone.now() + expires,
        )
        secret = key.issue_secret()
        try:
            check_scopes(key.scopes)
            check_patterns(key.topics)
        except ValidationError as error:
            raise CommandError(error.messages[0]) from error
        commits.run(key.save)
        until = f"until {key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else "until it is revoked"
        self.stderr.write(
            f"Key {key.name} may {key.scopes} on {key.topics} {until}. Keep the secret: it is shown once."
        )
        return secret
