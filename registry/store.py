"""Register and look up schemas."""

from collections.abc import Sequence
from functools import partial

import msgspec
from django.db.models import Count, Max

from core import audit
from core.errors import StorageUnavailable
from registry import admission, changes, configuration, errors, references, schemas, subjects, validation, values
from registry.models import Action, Change, Schema, SchemaReference, SubjectVersion
from registry.values import Reference, StoredSchema, Version

__all__ = ["Reference", "StoredSchema", "Version"]
# A round repeats when another registration under the same subject came first; only the new versions are checked then.
MOST_ROUNDS = 50
# Deleting a subject blocks other writers: for about a second with this many versions.
MOST_VERSIONS = 10_000


class _Candidate(msgspec.Struct, frozen=True):
    """A validated schema, ready to be looked up or stored."""

    parsed: schemas.Parsed
    targets: list[references.Target]
    dependencies: list[str]
    fingerprint: str


def register(
    subject: str,
    text: str,
    *,
    schema_type: str = schemas.AVRO,
    references: Sequence[Reference] = (),
    normalize: bool = False,
    by: str = "",
) -> Version:
    """Return the subject's live version of this schema, or create it. `by` is recorded in the history.

    1. Validate the schema and check its compatibility while others may write.
    2. Lock the registry and store the schema if the checked versions are still current; otherwise repeat the check.

    Raises InvalidSubject, InvalidSchema, OperationNotPermitted, Incompatible, SchemaTooLarge, StorageUnavailable.
    """
    subjects.check(subject)
    candidate = _candidate(text, schema_type, references)
    checked: validation.Baseline | None = None
    for _ in range(MOST_ROUNDS):
        if (live := _live(subject, candidate)) is not None:
            return live
        _check_writable(subject)
        baseline = validation.baseline(subject)
        if messages := _incompatibilities(candidate, baseline.beyond(checked)):
            raise errors.Incompatible(subject, messages)
        checked = baseline
        made = changes.commit_alone(partial(_make, subject, candidate, baseline, normalize, by))
        if made is not None:
            audit.note("schema_registered", "subject", subject, version=made.version, id=made.schema.id)
            return made
    raise StorageUnavailable(f"{MOST_ROUNDS} concurrent registrations under subject {subject!r} came first")


def _make(
    subject: str, candidate: _Candidate, checked: validation.Baseline, normalize: bool, by: str
) -> Version | None:
    """Store a new version; return None if the level or versions it was checked against have changed."""
    if (live := _live(subject, candidate)) is not None:
        return live
    _check_writable(subject)
    if validation.baseline(subject) != checked:
        return None
    row = Schema.objects.filter(fingerprint=candidate.fingerprint).first() or _store(candidate, normalize)
    made = SubjectVersion.objects.create(subject=subject, version=_next_number(subject), schema=row)
    Change.objects.create(what=Action.REGISTERED, subject=subject, version=made.version, schema=row, by=by)
    return _version(made)


def _next_number(subject: str) -> int:
    found = SubjectVersion.objects.of_subject(subject, deleted=True).aggregate(last=Max("version"), count=Count("pk"))
    if found["count"] >= MOST_VERSIONS:
        raise errors.TooManyVersions(subject, MOST_VERSIONS)
    return int(found["last"] or 0) + 1


def _live(subject: str, candidate: _Candidate) -> Version | None:
    rows = SubjectVersion.objects.of_subject(subject).filter(schema__fingerprint=candidate.fingerprint)
    row = rows.select_related("schema").first()
    return None if row is None else _version(row)


def _check_writable(subject: str) -> None:
    if configuration.effective_mode(subject) != configuration.WRITABLE:
        raise errors.ReadOnlyMode(subject)


def lookup(
    subject: str,
    text: str,
    *,
    schema_type: str = schemas.AVRO,
    references: Sequence[Reference] = (),
    normalize: bool = False,
    deleted: bool = False,
) -> Version:
    """Return the subject's version of this schema. Normalization makes no difference to which schemas are equal.

    Raises SubjectNotFound, SchemaNotFound, InvalidSchema, SchemaTooLarge, StorageUnavailable.
    """
    candidate = _candidate(text, schema_type, references)
    found = SubjectVersion.objects.of_subject(subject, deleted=deleted).filter(
        schema__fingerprint=candidate.fingerprint
    )
    row = found.select_related("schema").order_by("-version").first()
    if row is None:
        _check_exists(subject, deleted)
        raise errors.SchemaNotFound("Schema not found")
    return _version(row)


def fingerprint(text: str) -> str:
    """Raises InvalidSchema, SchemaTooLarge, StorageUnavailable."""
    return _candidate(text, schemas.AVRO, ()).fingerprint


def by_id(schema_id: int) -> StoredSchema:
    """Raises SchemaNotFound."""
    row = Schema.objects.filter(pk=schema_id).first()
    if row is None:
        raise errors.SchemaNotFound(f"Schema {schema_id} not found")
    return _stored(row)


def version(subject: str, number: int | None, *, deleted: bool = False) -> Version:
    """Return one version, or the latest if `number` is None. Raises SubjectNotFound, VersionNotFound."""
    rows = SubjectVersion.objects.of_subject(subject, deleted=deleted).select_related("schema")
    row = rows.order_by("-version").first() if number is None else rows.filter(version=number).first()
    if row is None:
        _check_exists(subject, deleted)
        raise errors.VersionNotFound(-1 if number is None else number)
    return _version(row)


def incompatibilities(
    subject: str,
    text: str,
    number: int | None,
    *,
    every: bool = False,
    schema_type: str = schemas.AVRO,
    references: Sequence[Reference] = (),
) -> list[str]:
    """Return the ways in which a schema violates the subject's level.

    Checks against one version (the latest if `number` is None), or with `every` against all versions that the level
    covers. A subject without versions accepts any schema. Raises InvalidSchema, SchemaTooLarge, StorageUnavailable, and
    VersionNotFound if `number` does not exist.
    """
    candidate = _candidate(text, schema_type, references)
    if every:
        return _incompatibilities(candidate, validation.baseline(subject))
    rows = SubjectVersion.objects.of_subject(subject).order_by("-version")
    row = (rows if number is None else rows.filter(version=number)).first()
    if row is None:
        if number is None:
            return []
        raise errors.VersionNotFound(number)
    level = configuration.effective_level(subject)
    return _incompatibilities(candidate, validation.Baseline(level, ((row.version, row.schema_id),)))


def _candidate(text: str, schema_type: str, given: Sequence[Reference]) -> _Candidate:
    schemas.check_type(schema_type)
    targets = references.resolve(given)
    dependencies = references.dependencies(targets)
    with admission.admit(len(text) + sum(map(len, dependencies))):
        parsed = schemas.parse(text, dependencies)
        fingerprint = schemas.fingerprint(parsed.canonical, [target.reference for target in targets])
    return _Candidate(parsed, targets, dependencies, fingerprint)


def _store(candidate: _Candidate, normalize: bool) -> Schema:
    text = candidate.parsed.canonical if normalize else candidate.parsed.text
    row = Schema.objects.create(fingerprint=candidate.fingerprint, text=text)
    SchemaReference.objects.bulk_create(
        SchemaReference(
            schema=row,
            position=position,
            name=target.reference.name,
            subject=target.reference.subject,
            version=target.reference.version,
            target_id=target.schema_id,
        )
        for position, target in enumerate(candidate.targets)
    )
    return row


def _incompatibilities(candidate: _Candidate, baseline: validation.Baseline) -> list[str]:
    return validation.incompatibilities(candidate.parsed.text, candidate.dependencies, baseline)


def _check_exists(subject: str, deleted: bool) -> None:
    if not SubjectVersion.objects.of_subject(subject, deleted=deleted).exists():
        raise errors.SubjectNotFound(subject)


def _version(row: SubjectVersion) -> Version:
    return Version(row.subject, row.version, _stored(row.schema))


def _stored(row: Schema) -> StoredSchema:
    found = [values.Reference(link.name, link.subject, link.version) for link in row.references.all()]
    return StoredSchema(row.pk, row.text, row.schema_type, found)


def dependencies(schema: StoredSchema) -> list[str]:
    """Return the texts of all schemas that a schema refers to, each after its own dependencies."""
    return references.needed(schema.id)
