"""Resolve a schema's direct and indirect references in a fixed number of queries."""

from collections.abc import Collection, Iterable, Sequence

import msgspec
from django.db import connection
from django.db.models import Max, Q

from registry import errors, subjects
from registry.models import Schema, SubjectVersion
from registry.values import Reference

# Each reference is a separate type, and a hundred is plenty. SQLite allows 1000 conditions in a query.
MOST_REFERENCES = 100
# All referenced schemas are parsed every time the schema is.
MOST_REACHED = 1000
MOST_REACHED_CHARACTERS = 1024 * 1024
MAX_NAME = 255
LATEST = -1
_LINKS = """
WITH RECURSIVE reached(id) AS (
    SELECT id FROM registry_schema WHERE id IN ({roots})
    UNION
    SELECT link.target_id FROM registry_schemareference link JOIN reached ON link.schema_id = reached.id
)
SELECT link.schema_id, link.name, link.target_id
FROM registry_schemareference link JOIN reached ON link.schema_id = reached.id
ORDER BY link.schema_id, link.position
"""


class Target(msgspec.Struct, frozen=True):
    """A reference with a resolved version number, and the id of its schema."""

    reference: Reference
    schema_id: int


class Graph(msgspec.Struct, frozen=True):
    """References between schemas: maps each schema id to pairs of referenced name and schema id."""

    links: dict[int, list[tuple[str, int]]]

    def needs(self, roots: Iterable[int]) -> list[int]:
        """Return the ids of all schemas that the roots refer to, directly or not; each follows its own dependencies."""
        found: set[int] = set()
        waiting = list(roots)
        while waiting:
            for _, target in self.links.get(waiting.pop(), ()):
                if target not in found:
                    found.add(target)
                    waiting.append(target)
        # A schema is stored after those it refers to, so it has a larger id.
        return sorted(found)


def resolve(references: Sequence[Reference]) -> list[Target]:
    """Resolve references to schema ids. Raises InvalidSchema, InvalidSubject."""
    _check(references)
    numbers = _latest({found.subject for found in references if found.version == LATEST})
    exact = [
        msgspec.structs.replace(found, version=numbers.get(found.subject, LATEST)) if found.version == LATEST else found
        for found in references
    ]
    _check_duplicates(exact)
    ids = _schema_ids(exact)
    for given, found in zip(references, exact, strict=True):
        if (found.subject, found.version) not in ids:
            version = "" if given.version == LATEST else f" {given.version}"
            raise errors.InvalidSchema(
                f"Invalid schema: the referenced subject '{found.subject}' has no version{version}"
            )
    return [Target(found, ids[found.subject, found.version]) for found in exact]


def _check(references: Sequence[Reference]) -> None:
    if len(references) > MOST_REFERENCES:
        raise errors.InvalidSchema(
            f"Invalid schema: it has {len(references)} references; at most {MOST_REFERENCES} are allowed"
        )
    for index, found in enumerate(references):
        subjects.check(found.subject)
        if not 0 < len(found.name) <= MAX_NAME or "\0" in found.name:
            raise errors.InvalidSchema(f"Invalid schema: references[{index}].name is not a valid name")
        if found.version != LATEST and not 1 <= found.version < 2**31:
            raise errors.InvalidSchema(f"Invalid schema: references[{index}].version must be a version number or -1")


def _check_duplicates(references: Sequence[Reference]) -> None:
    names: set[str] = set()
    places: set[tuple[str, int]] = set()
    for index, found in enumerate(references):
        place = (found.subject, found.version)
        if found.name in names or place in places:
            raise errors.InvalidSchema(f"Invalid schema: references[{index}] repeats an earlier reference")
        names.add(found.name)
        places.add(place)


def _latest(names: Collection[str]) -> dict[str, int]:
    if not names:
        return {}
    rows = SubjectVersion.objects.filter(subject__in=names, deleted=False).order_by().values("subject")
    return {row["subject"]: row["last"] for row in rows.annotate(last=Max("version"))}


def _schema_ids(references: Sequence[Reference]) -> dict[tuple[str, int], int]:
    if not references:
        return {}
    wanted = Q()
    for found in references:
        wanted |= Q(subject=found.subject, version=found.version)
    rows = SubjectVersion.objects.filter(wanted).values_list("subject", "version", "schema_id")
    return {(subject, version): schema_id for subject, version, schema_id in rows}


def graph(roots: Collection[int]) -> Graph:
    """Load the references of these schemas and of all schemas they refer to, in one query."""
    links: dict[int, list[tuple[str, int]]] = {}
    if roots:
        marks = ", ".join(["%s"] * len(roots))
        with connection.cursor() as cursor:
            cursor.execute(_LINKS.format(roots=marks), list(roots))
            for schema_id, name, target in cursor.fetchall():
                links.setdefault(schema_id, []).append((name, target))
    return Graph(links)


def dependencies(targets: Sequence[Target]) -> list[str]:
    """Return the texts to parse before a schema with these references, in order. Raises SchemaTooLarge."""
    roots = {target.schema_id for target in targets}
    if not roots:
        return []
    ids = sorted(roots.union(graph(roots).needs(roots)))
    if len(ids) > MOST_REACHED:
        raise errors.SchemaTooLarge(f"the schema refers to {len(ids)} schemas, directly or not; at most {MOST_REACHED}")
    found = texts(ids)
    characters = sum(map(len, found.values()))
    if characters > MOST_REACHED_CHARACTERS:
        raise errors.SchemaTooLarge(
            f"the schemas that this one refers to, directly or not, have {characters} characters; "
            f"at most {MOST_REACHED_CHARACTERS} are allowed"
        )
    return distinct(found[schema_id] for schema_id in ids)


def texts(ids: Collection[int]) -> dict[int, str]:
    return dict(Schema.objects.filter(pk__in=ids).order_by().values_list("pk", "text")) if ids else {}


def distinct(found: Iterable[str]) -> list[str]:
    """Remove duplicates: equal texts define the same types, whatever they refer to."""
    return list(dict.fromkeys(found))


def needed(schema_id: int) -> list[str]:
    """Return the texts to compile before a stored schema, in order."""
    ids = graph([schema_id]).needs([schema_id])
    found = texts(ids)
    return distinct(found[each] for each in ids)
