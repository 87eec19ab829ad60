"""Database tables for schemas, subject versions, settings and the change history."""

from typing import Any, NoReturn, Self

from django.db import models


class Level(models.TextChoices):
    """The compatibility required between a subject's schema versions."""

    NONE = "NONE", "None: any change is allowed"
    BACKWARD = "BACKWARD", "Backward: the new schema can read records of the latest version"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE", "Backward transitive: the new schema can read records of all versions"
    FORWARD = "FORWARD", "Forward: the latest version can read records of the new schema"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE", "Forward transitive: all versions can read records of the new schema"
    FULL = "FULL", "Full: backward and forward"
    FULL_TRANSITIVE = "FULL_TRANSITIVE", "Full transitive: backward and forward with all versions"


class SubjectMode(models.TextChoices):
    READWRITE = "READWRITE", "Read and write: schemas can be registered and deleted"
    READONLY = "READONLY", "Read only: schemas can only be looked up"
    READONLY_OVERRIDE = "READONLY_OVERRIDE", "Read only, overriding every subject's own mode"


class Action(models.TextChoices):
    REGISTERED = "registered", "Registered"
    SOFT_DELETED = "soft_deleted", "Soft-deleted"
    DELETED = "deleted", "Deleted permanently"
    LEVEL_SET = "level_set", "Compatibility level set"
    LEVEL_UNSET = "level_unset", "Compatibility level unset"
    MODE_SET = "mode_set", "Mode set"
    MODE_UNSET = "mode_unset", "Mode unset"


def is_storable(name: str) -> bool:
    """Tell whether the database can look up this name: PostgreSQL rejects NUL characters."""
    return "\0" not in name


class Schema(models.Model):
    """A schema and its global id. Rows are never changed or deleted, because stored records contain the id."""

    schema_type = models.CharField("type", max_length=10, default="AVRO")
    fingerprint = models.CharField(
        max_length=64,
        unique=True,
        editable=False,
        help_text="SHA-256 of the type, the canonical text and the references. Equal schemas share one id.",
    )
    text = models.TextField()
    created_at = models.DateTimeField("registered at", auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"schema {self.pk}"


class SchemaReference(models.Model):
    """A type that a schema uses and a version of another subject defines."""

    schema = models.ForeignKey(Schema, models.PROTECT, related_name="references")
    position = models.PositiveIntegerField()
    name = models.CharField(max_length=255)
    subject = models.CharField(max_length=255)
    version = models.PositiveIntegerField()
    # The referenced version may be deleted once no live version needs it, but stored records still need its schema.
    target = models.ForeignKey(Schema, models.PROTECT, related_name="+")

    class Meta:
        verbose_name = "schema reference"
        ordering = ["schema", "position"]
        constraints = [models.UniqueConstraint(fields=["schema", "position"], name="one_reference_per_position")]
        indexes = [models.Index(fields=["subject", "version"], name="referenced_by")]

    def __str__(self) -> str:
        return f"{self.name} from {self.subject} version {self.version}"


class SubjectVersionQuerySet(models.QuerySet["SubjectVersion"]):
    def of_subject(self, subject: str, *, deleted: bool = False) -> Self:
        """Return a subject's versions, including soft-deleted ones if `deleted` is true."""
        found = self.filter(subject=subject) if is_storable(subject) else self.none()
        return found if deleted else found.filter(deleted=False)


class SubjectVersion(models.Model):
    subject = models.CharField(max_length=255)
    version = models.PositiveIntegerField()
    schema = models.ForeignKey(Schema, models.PROTECT, related_name="versions")
    deleted = models.BooleanField("soft-deleted", default=False)
    created_at = models.DateTimeField("registered at", auto_now_add=True)

    objects = SubjectVersionQuerySet.as_manager()

    class Meta:
        verbose_name = "subject version"
        ordering = ["subject", "version"]
        constraints = [
            models.UniqueConstraint(fields=["subject", "version"], name="one_version_per_number"),
            models.UniqueConstraint(
                fields=["subject", "schema"], condition=models.Q(deleted=False), name="one_live_version_per_schema"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subject} version {self.version}"


class SubjectConfig(models.Model):
    """The settings of one subject, or the global ones under the empty name. Empty settings are inherited."""

    subject = models.CharField(max_length=255, unique=True, blank=True)
    compatibility = models.CharField("compatibility level", max_length=20, choices=Level, blank=True)
    mode = models.CharField(max_length=20, choices=SubjectMode, blank=True)

    class Meta:
        verbose_name = "subject setting"
        ordering = ["subject"]

    def __str__(self) -> str:
        return self.subject or "all subjects"


class TopicSetting(models.Model):
    """A topic's registration setting. A topic without a row has the defaults."""

    topic = models.CharField(max_length=249, unique=True)
    registers_schemas = models.BooleanField(default=True)

    class Meta:
        verbose_name = "topic setting"

    def __str__(self) -> str:
        return self.topic


class ChangeQuerySet(models.QuerySet["Change"]):
    def update(self, **kwargs: Any) -> NoReturn:
        raise TypeError("the history is append-only")

    def delete(self) -> NoReturn:
        raise TypeError("the history is append-only")


class Change(models.Model):
    """One entry of the append-only history."""

    what = models.CharField(max_length=20, choices=Action)
    subject = models.CharField(max_length=255, blank=True)
    version = models.PositiveIntegerField(null=True)
    schema = models.ForeignKey(Schema, models.PROTECT, null=True, related_name="+")
    setting = models.CharField(max_length=20, blank=True)
    by = models.CharField("by API key", max_length=16, blank=True)
    made_at = models.DateTimeField(auto_now_add=True)

    objects = ChangeQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.get_what_display()}: {self.subject or 'all subjects'}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk is not None:
            raise TypeError("the history is append-only")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("the history is append-only")
