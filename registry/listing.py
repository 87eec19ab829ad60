"""List subjects, versions and schemas."""

from registry import errors, store
from registry.models import SchemaReference, SubjectVersion, is_storable


def subjects(*, prefix: str = "", deleted: bool = False, deleted_only: bool = False) -> list[str]:
    """List the subjects with a live version; with `deleted`, all subjects; with `deleted_only`, only the other ones."""
    if not is_storable(prefix):
        return []
    names = (
        SubjectVersion.objects.filter(subject__startswith=prefix).order_by("subject").values_list("subject", flat=True)
    )
    live = list(names.filter(deleted=False).distinct())
    if not (deleted or deleted_only):
        return live
    every = list(names.distinct())
    return sorted(set(every).difference(live)) if deleted_only else every


def versions(subject: str, *, deleted: bool = False, deleted_only: bool = False) -> list[int]:
    """List a subject's version numbers. Raises SubjectNotFound."""
    rows = SubjectVersion.objects.of_subject(subject, deleted=deleted or deleted_only)
    found = list(
        (rows.filter(deleted=True) if deleted_only else rows).order_by("version").values_list("version", flat=True)
    )
    if not found:
        raise errors.SubjectNotFound(subject)
    return found


def uses(schema_id: int, *, deleted: bool = False) -> list[tuple[str, int]]:
    """List the subjects and versions that use a schema id. Raises SchemaNotFound."""
    store.by_id(schema_id)
    rows = SubjectVersion.objects.filter(schema_id=schema_id).order_by("subject", "version")
    return list((rows if deleted else rows.filter(deleted=False)).values_list("subject", "version"))


def referenced_by(subject: str, number: int | None) -> list[int]:
    """List the ids of the schemas that refer to a version. Raises SubjectNotFound, VersionNotFound."""
    found = store.version(subject, number, deleted=True)
    rows = SchemaReference.objects.filter(subject=subject, version=found.version)
    return sorted(set(rows.values_list("schema_id", flat=True)))
