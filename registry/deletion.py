"""Delete versions of subjects: softly first, for good after that, and never what another schema still needs."""

from registry import changes, configuration, errors
from registry.models import Action, Change, SchemaReference, SubjectVersion


def delete_subject(subject: str, *, permanent: bool = False, by: str = "") -> list[int]:
    """Delete every version; softly first, and only then for good.

    Raises SubjectNotFound, SubjectSoftDeleted, SubjectNotSoftDeleted, VersionReferenced, ReadOnlyMode.
    """

    def job() -> list[int]:
        _check_writable(subject)
        every = SubjectVersion.objects.of(subject, deleted=True)
        live = every.filter(deleted=False)
        if not every.exists():
            raise errors.SubjectNotFound(subject)
        if permanent and live.exists():
            raise errors.SubjectNotSoftDeleted(subject)
        if not permanent and not live.exists():
            raise errors.SubjectSoftDeleted(subject)
        return [_delete(row, permanent, by) for row in (every if permanent else live).order_by("version")]

    return changes.run(job)


def delete_version(subject: str, number: int | None, *, permanent: bool = False, by: str = "") -> int:
    """Raises VersionNotFound, VersionSoftDeleted, VersionNotSoftDeleted, VersionReferenced, ReadOnlyMode."""

    def job() -> int:
        _check_writable(subject)
        rows = SubjectVersion.objects.of(subject, deleted=permanent or number is not None)
        if not SubjectVersion.objects.of(subject, deleted=True).exists():
            raise errors.SubjectNotFound(subject)
        row = rows.order_by("-version").first() if number is None else rows.filter(version=number).first()
        if row is None:
            raise errors.VersionNotFound(-1 if number is None else number)
        if permanent and not row.deleted:
            raise errors.VersionNotSoftDeleted(subject, row.version)
        if not permanent and row.deleted:
            raise errors.VersionSoftDeleted(subject, row.version)
        return _delete(row, permanent, by)

    return changes.run(job)


def _delete(row: SubjectVersion, permanent: bool, by: str) -> int:
    users = SchemaReference.objects.filter(subject=row.subject, version=row.version)
    if users.filter(schema__versions__deleted=False).exists():
        raise errors.VersionReferenced(row.subject, row.version)
    what = Action.DELETED if permanent else Action.SOFT_DELETED
    Change.objects.create(what=what, subject=row.subject, version=row.version, schema_id=row.schema_id, by=by)
    if permanent:
        row.delete()
    else:
        row.deleted = True
        row.save(update_fields=["deleted"])
    return row.version


def _check_writable(subject: str) -> None:
    if configuration.effective_mode(subject) != configuration.WRITABLE:
        raise errors.ReadOnlyMode(subject)
