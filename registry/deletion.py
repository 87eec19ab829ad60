"""Delete subjects and versions: a soft delete first, then a permanent one, never a version that is still referenced."""

from django.db.models import Exists, OuterRef

from core import audit
from registry import changes, configuration, errors
from registry.models import Action, Change, SchemaReference, SubjectVersion, SubjectVersionQuerySet


def delete_subject(subject: str, *, permanent: bool = False, by: str = "") -> list[int]:
    """Delete every version of a subject. A permanent delete requires a soft delete first.

    The deleted versions may refer to one another.

    Raises SubjectNotFound, SubjectSoftDeleted, SubjectNotSoftDeleted, VersionReferenced, ReadOnlyMode.
    """

    def job() -> list[int]:
        _check_writable(subject)
        every = SubjectVersion.objects.of_subject(subject, deleted=True)
        live = every.filter(deleted=False)
        if not every.exists():
            raise errors.SubjectNotFound(subject)
        if permanent and live.exists():
            raise errors.SubjectNotSoftDeleted(subject)
        if not permanent and not live.exists():
            raise errors.SubjectSoftDeleted(subject)
        return _delete(subject, every if permanent else live, permanent, by)

    versions = changes.commit_alone(job)
    audit.note("subject_deleted", "subject", subject, versions=versions, permanent=permanent)
    return versions


def delete_version(subject: str, number: int | None, *, permanent: bool = False, by: str = "") -> int:
    """Raises SubjectNotFound, VersionNotFound, VersionSoftDeleted, VersionNotSoftDeleted, VersionReferenced,
    ReadOnlyMode.
    """

    def job() -> int:
        _check_writable(subject)
        rows = SubjectVersion.objects.of_subject(subject, deleted=permanent or number is not None)
        if not SubjectVersion.objects.of_subject(subject, deleted=True).exists():
            raise errors.SubjectNotFound(subject)
        row = rows.order_by("-version").first() if number is None else rows.filter(version=number).first()
        if row is None:
            raise errors.VersionNotFound(-1 if number is None else number)
        if permanent and not row.deleted:
            raise errors.VersionNotSoftDeleted(subject, row.version)
        if not permanent and row.deleted:
            raise errors.VersionSoftDeleted(subject, row.version)
        (deleted,) = _delete(subject, SubjectVersion.objects.filter(pk=row.pk), permanent, by)
        return deleted

    version = changes.commit_alone(job)
    audit.note("schema_deleted", "subject", subject, version=version, permanent=permanent)
    return version


def _delete(subject: str, rows: SubjectVersionQuerySet, permanent: bool, by: str) -> list[int]:
    """Delete in a few statements, however many versions there are, because all writers wait meanwhile."""
    _check_unused(subject, rows)
    what = Action.DELETED if permanent else Action.SOFT_DELETED
    found = list(rows.order_by("version").values_list("version", "schema_id"))
    Change.objects.bulk_create(
        Change(what=what, subject=subject, version=version, schema_id=schema_id, by=by) for version, schema_id in found
    )
    if permanent:
        rows.delete()
    else:
        rows.update(deleted=True)
    return [version for version, _ in found]


def _check_unused(subject: str, rows: SubjectVersionQuerySet) -> None:
    """Raise VersionReferenced if a remaining version refers to one of these."""
    staying = SubjectVersion.objects.filter(schema=OuterRef("schema"), deleted=False).exclude(pk__in=rows.values("pk"))
    users = SchemaReference.objects.filter(subject=subject, version__in=rows.values("version"))
    used = users.filter(Exists(staying)).order_by("version").values_list("version", flat=True).first()
    if used is not None:
        raise errors.VersionReferenced(subject, used)


def _check_writable(subject: str) -> None:
    if configuration.effective_mode(subject) != configuration.WRITABLE:
        raise errors.ReadOnlyMode(subject)
