from typing import Any

from core.commands import OutputCommand
from producer.models import ApiKey


class Command(OutputCommand):
    help = "List the API keys, by the prefixes of their secrets."

    def handle(self, *args: Any, **options: Any) -> None:
        rows = [
            {
                "prefix": key.prefix,
                "name": key.name,
                "state": key.state,
                "scopes": key.scopes,
                "topics": key.topics,
                "expiresAt": key.expires_at,
                "lastUsedAt": key.last_used_at,
            }
            for key in ApiKey.objects.all()
        ]
        self.tell_rows(options, rows, "There are no API keys. Create one with create_api_key.")
