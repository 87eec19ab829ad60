"""Register schemas and look them up."""

import re
from collections.abc import Sequence

import msgspec
from django.db.models import Max

from registry import changes, compatibility, configuration, entries, errors, schemas
from registry.entries import Reference, StoredSchema, Version
from registry.models import Action, Change, Schema, SchemaReference, SubjectVersion

__all__ = ["Reference", "StoredSchema", "Version"]
MAX_SUBJECT = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class _Candidate(msgspec.Struct, frozen=True):
    """A schema that was sent: judged, and ready to be found or stored."""

    parsed: schemas.Parsed
    references: list[Reference]
    targets: list[Schema]
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
    """The subject's live version of this schema, made when there is none; `by` names who in the history.

    Raises InvalidSubject, InvalidSchema, ReadOnlyMode, Incompatible.
    """
    check_subject(subject)
    candidate = _candidate(text, schema_type, references)

    def find() -> Version | None:
        live = SubjectVersion.objects.of(subject).filter(schema__fingerprint=candidate.fingerprint)
        row = live.select_related("schema").first()
        return None if row is None else _version(row)

    def job() -> Version:
        if (live := find()) is not None:
            return live
        if configuration.effective_mode(subject) != configuration.WRITABLE:
            raise errors.ReadOnlyMode(subject)
        if messages := _incompatibilities(subject, candidate, configuration.effective_level(subject)):
            raise errors.Incompatible(subject, messages)
        same = Schema.objects.filter(fingerprint=candidate.fingerprint).first()
        row = same or _store(candidate, normalize)
        last = SubjectVersion.objects.of(subject, deleted=True).aggregate(last=Max("version"))["last"] or 0
        made = SubjectVersion.objects.create(subject=subject, version=last + 1, schema=row)
        Change.objects.create(what=Action.REGISTERED, subject=subject, version=made.version, schema=row, by=by)
        return _version(made)

    return find() or changes.run(job)


def lookup(
    subject: str,
    text: str,
    *,
    schema_type: str = schemas.AVRO,
    references: Sequence[Reference] = (),
    normalize: bool = False,
    deleted: bool = False,
) -> Version:
    """The subject's version of this schema; equal schemas are one whether normalized or not.

    Raises SubjectNotFound, SchemaNotFound, InvalidSchema.
    """
    candidate = _candidate(text, schema_type, references)
    found = SubjectVersion.objects.of(subject, deleted=deleted).filter(schema__fingerprint=candidate.fingerprint)
    row = found.select_related("schema").order_by("-version").first()
    if row is None:
        _check_exists(subject, deleted)
        raise errors.SchemaNotFound
    return _version(row)


def by_id(schema_id: int) -> StoredSchema:
    """Raises SchemaNotFound."""
    row = Schema.objects.filter(pk=schema_id).first()
    if row is None:
        raise errors.SchemaNotFound(schema_id)
    return _stored(row)


def version(subject: str, number: int | None, *, deleted: bool = False) -> Version:
    """One version; the latest for None. Raises SubjectNotFound, VersionNotFound."""
    rows = SubjectVersion.objects.of(subject, deleted=deleted).select_related("schema")
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
    """What the subject's level forbids in this schema beside one version, or beside all that it is judged by.

    Raises InvalidSchema; SubjectNotFound and VersionNotFound for one version.
    """
    candidate = _candidate(text, schema_type, references)
    level = configuration.effective_level(subject)
    if every:
        return _incompatibilities(subject, candidate, level)
    found = version(subject, number)
    return _judged(candidate, found, level)


def named_types(schema: StoredSchema) -> dict[str, object]:
    """The full schema, decoded, of every type that is reached through references, by its name."""
    named: dict[str, object] = {}
    for row in SchemaReference.objects.filter(schema_id=schema.id).select_related("target"):
        named |= named_types(_stored(row.target))
        named[row.name] = msgspec.json.decode(row.target.text)
    return named


def check_subject(subject: str) -> None:
    """Raise InvalidSubject for a name that no client could ask for again."""
    if not subject or len(subject) > MAX_SUBJECT or _CONTROL.search(subject):
        raise errors.InvalidSubject(subject)


def _candidate(text: str, schema_type: str, references: Sequence[Reference]) -> _Candidate:
    schemas.check_type(schema_type)
    targets = [_target(reference) for reference in references]
    dependencies: list[str] = []
    for target in targets:
        _add_dependencies(target, dependencies)
    parsed = schemas.parse(text, dependencies)
    fingerprint = schemas.fingerprint(parsed.canonical, references)
    return _Candidate(parsed, list(references), targets, dependencies, fingerprint)


def _target(reference: Reference) -> Schema:
    rows = SubjectVersion.objects.of(reference.subject, deleted=True).select_related("schema")
    row = (rows.order_by("-version") if reference.version == -1 else rows.filter(version=reference.version)).first()
    if row is None:
        raise errors.InvalidSchema(
            f"Invalid schema: there is no version {reference.version} of the referenced subject '{reference.subject}'"
        )
    return row.schema


def _add_dependencies(schema: Schema, texts: list[str]) -> None:
    """Add the texts that a schema needs, each after its own, and then its own."""
    for row in schema.references.select_related("target"):
        _add_dependencies(row.target, texts)
    if schema.text not in texts:
        texts.append(schema.text)


def _store(candidate: _Candidate, normalize: bool) -> Schema:
    text = candidate.parsed.canonical if normalize else candidate.parsed.text
    row = Schema.objects.create(fingerprint=candidate.fingerprint, text=text)
    for position, (reference, target) in enumerate(zip(candidate.references, candidate.targets, strict=True)):
        SchemaReference.objects.create(
            schema=row,
            position=position,
            name=reference.name,
            subject=reference.subject,
            version=reference.version,
            target=target,
        )
    return row


def _incompatibilities(subject: str, candidate: _Candidate, level: str) -> list[str]:
    live = {row.version: row for row in SubjectVersion.objects.of(subject).select_related("schema")}
    judged_by = compatibility.to_judge(list(live), level)
    return [text for number in judged_by for text in _judged(candidate, _version(live[number]), level)]


def _judged(candidate: _Candidate, old: Version, level: str) -> list[str]:
    new = schemas.with_avro(candidate.parsed.text, candidate.dependencies)
    dependencies: list[str] = []
    for row in SchemaReference.objects.filter(schema_id=old.schema.id).select_related("target"):
        _add_dependencies(row.target, dependencies)
    return compatibility.check(new, schemas.with_avro(old.schema.text, dependencies), level, f"version {old.version}")


def _check_exists(subject: str, deleted: bool) -> None:
    if not SubjectVersion.objects.of(subject, deleted=deleted).exists():
        raise errors.SubjectNotFound(subject)


def _version(row: SubjectVersion) -> Version:
    return Version(row.subject, row.version, _stored(row.schema))


def _stored(row: Schema) -> StoredSchema:
    references = [entries.Reference(found.name, found.subject, found.version) for found in row.references.all()]
    return StoredSchema(row.pk, row.text, row.schema_type, references)
