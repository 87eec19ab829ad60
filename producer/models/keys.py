"""API keys: the SHA-256 of each secret, and what its holder may do."""

import hashlib
import hmac
import secrets
from typing import Self

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from registry.subjects import topic_of


class Scope(models.TextChoices):
    PRODUCE = "produce", "Produce records and get the status of its own requests"
    READ = "read", "List topics and read records"
    MANAGE = "manage", "Create, change and delete topics"
    SCHEMAS = "schemas", "Register, change and delete schemas"
    METRICS = "metrics", "Read the server's metrics"


def _quota(unit: str) -> "models.PositiveBigIntegerField[int | None, int | None]":
    text = f"The most {unit} per second; 0 for no limit. Leave it empty for the server's default."
    return models.PositiveBigIntegerField(null=True, blank=True, help_text=text)


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable(self) -> Self:
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), revoked_at=None)


class ApiKey(models.Model):
    """An API key: the SHA-256 of its secret, and what its holder may do.

    The secret has 256 random bits, so it needs no slow hash.
    """

    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=16, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.CharField(max_length=100, default="produce,read,manage,schemas")
    topics = models.TextField(default="*", help_text="Comma-separated topic names. A trailing * matches any suffix.")
    requests_per_second = _quota("requests")
    records_per_second = _quota("records")
    bytes_per_second = _quota("bytes of decoded bodies")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def clean(self) -> None:
        check_scopes(self.scopes)
        check_patterns(self.topics)

    @property
    def state(self) -> str:
        """Usable, Expired or Revoked."""
        if self.revoked_at is not None:
            return "Revoked"
        is_expired = self.expires_at is not None and self.expires_at <= timezone.now()
        return "Expired" if is_expired else "Usable"

    def issue_secret(self) -> str:
        """Give this unsaved key a new secret and return it. The secret cannot be recovered later."""
        secret = f"tk_{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"
        self.prefix = secret[:11]
        self.digest = digest_of(secret)
        return secret

    def matches(self, secret: str) -> bool:
        return hmac.compare_digest(self.digest, digest_of(secret))

    def has_scope(self, scope: str) -> bool:
        return scope in self.scopes.split(",")

    def allows_topic(self, topic: str) -> bool:
        return any(
            topic.startswith(pattern[:-1]) if pattern.endswith("*") else topic == pattern
            for pattern in self.topics.split(",")
        )

    def allows_every_topic(self) -> bool:
        return "*" in self.topics.split(",")

    def allows_subject(self, subject: str) -> bool:
        """Return whether the key may use a registry subject: its topic must be allowed.

        A subject that belongs to no topic must match a topic pattern itself.
        """
        topic = topic_of(subject)
        return self.allows_topic(subject if topic is None else topic)


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def check_scopes(value: str) -> None:
    """Raise ValidationError unless `value` is a comma-separated list of scopes."""
    unknown = set(value.split(",")) - set(Scope.values)
    if unknown:
        raise ValidationError(f"unknown scope {sorted(unknown)[0]!r}; expected one of {', '.join(Scope.values)}")


def check_patterns(value: str) -> None:
    """Raise ValidationError unless `value` is a comma-separated list of topic names, or prefixes that end in *."""
    for pattern in value.split(","):
        if not pattern or "*" in pattern[:-1] or any(character.isspace() for character in pattern):
            raise ValidationError(f"topic pattern {pattern!r} must be a topic name, or a prefix followed by *")
