"""The registry's tables: schemas by global id, the subjects' versions of them, settings, and a history."""

from typing import Any, NoReturn, Self

from django.db import models


class Level(models.TextChoices):
    """Who must be able to read whose records when a subject's schema changes."""

    NONE = "NONE", "None: any change is taken"
    BACKWARD = "BACKWARD", "Backward: the new schema reads the latest one's records"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE", "Backward, transitive: the new schema reads every version's records"
    FORWARD = "FORWARD", "Forward: the latest schema reads the new one's records"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE", "Forward, transitive: every version reads the new schema's records"
    FULL = "FULL", "Full: backward and forward"
    FULL_TRANSITIVE = "FULL_TRANSITIVE", "Full, transitive: backward and forward with every version"


class Mode(models.TextChoices):
    READWRITE = "READWRITE", "Schemas may be registered and deleted"
    READONLY = "READONLY", "Schemas may be looked up alone"
    READONLY_OVERRIDE = "READONLY_OVERRIDE", "Schemas may be looked up alone, whatever a subject's own mode is"


class Action(models.TextChoices):
    REGISTERED = "registered", "Registered"
    SOFT_DELETED = "soft_deleted", "Soft-deleted"
    DELETED = "deleted", "Deleted permanently"
    LEVEL_SET = "level_set", "Compatibility level set"
    LEVEL_UNSET = "level_unset", "Compatibility level unset"
    MODE_SET = "mode_set", "Mode set"
    MODE_UNSET = "mode_unset", "Mode unset"


def is_storable(name: str) -> bool:
    """Whether a name may be asked for: PostgreSQL fails on a NUL."""
    return "\0" not in name


class Schema(models.Model):
    """A schema under its global id. Its row is never changed nor deleted: stored records carry the id."""

    schema_type = models.CharField("type", max_length=10, default="AVRO")
    fingerprint = models.CharField(
        max_length=64,
        unique=True,
        editable=False,
        help_text="SHA-256 of the type, the canonical text and the references: equal schemas share one id.",
    )
    text = models.TextField()
    created_at = models.DateTimeField("registered at", auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"schema {self.pk}"


class SchemaReference(models.Model):
    """A type that a schema uses and another subject's version defines."""

    schema = models.ForeignKey(Schema, models.PROTECT, related_name="references")
    position = models.PositiveIntegerField()
    name = models.CharField(max_length=255)
    subject = models.CharField(max_length=255)
    version = models.PositiveIntegerField()
    # The referenced version may be deleted once nothing live needs it; records still need its schema.
    target = models.ForeignKey(Schema, models.PROTECT, related_name="+")

    class Meta:
        verbose_name = "schema reference"
        ordering = ["schema", "position"]
        constraints = [models.UniqueConstraint(fields=["schema", "position"], name="one_reference_per_position")]
        indexes = [models.Index(fields=["subject", "version"], name="referenced_by")]

    def __str__(self) -> str:
        return f"{self.name} from {self.subject} version {self.version}"


class SubjectVersionQuerySet(models.QuerySet["SubjectVersion"]):
    def of(self, subject: str, *, deleted: bool = False) -> Self:
        """A subject's versions; with `deleted` those that are soft-deleted too."""
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
    """What is set for one subject, or for all under the empty name; an empty setting is inherited."""

    subject = models.CharField(max_length=255, unique=True, blank=True)
    compatibility = models.CharField("compatibility level", max_length=20, choices=Level, blank=True)
    mode = models.CharField(max_length=20, choices=Mode, blank=True)

    class Meta:
        verbose_name = "subject setting"
        ordering = ["subject"]

    def __str__(self) -> str:
        return self.subject or "all subjects"


class ChangeQuerySet(models.QuerySet["Change"]):
    def update(self, **kwargs: Any) -> NoReturn:
        raise TypeError("the history is only added to")

    def delete(self) -> NoReturn:
        raise TypeError("the history is only added to")


class Change(models.Model):
    """One line of the history: it is added to, never changed."""

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
            raise TypeError("the history is only added to")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("the history is only added to")
