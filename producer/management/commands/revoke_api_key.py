from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Q
from django.db.models.functions import Now

from core import audit
from core.commands import OutputCommand
from core.database import transactions
from producer.models import ApiKey


class Command(OutputCommand):
    help = "Revoke an API key. Every server rejects it within 10 seconds."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", help="the prefix of its secret, such as tk_1a2b3c4d, or its name")
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        given = options["key"]
        found = list(ApiKey.objects.filter(Q(prefix=given[:11]) | Q(name=given), revoked_at=None)[:2])
        if not found:
            raise CommandError(f"there is no key {given!r} that is not revoked")
        if len(found) > 1:
            raise CommandError(f"several keys are named {given!r}: use the prefix, which list_api_keys shows")
        (key,) = found
        transactions.commit(lambda: ApiKey.objects.filter(pk=key.pk).update(revoked_at=Now()))
        audit.note("key_revoked", "key", key.prefix, called=key.name)
        self.tell(options, {"prefix": key.prefix, "revoked": True}, f"Revoked key {key.name} ({key.prefix}…).")
