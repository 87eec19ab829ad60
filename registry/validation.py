"""Check a schema against a subject's versions, within limits and outside any transaction."""

from collections.abc import Sequence

import msgspec
from django.db.models.functions import Length

from registry import admission, compatibility, configuration, errors, references, schemas
from registry.models import Level, Schema, SubjectVersion

# Limits for transitive levels: parsing takes about a second for a million characters or for 1000 small versions.
# Meanwhile, only other large schemas wait.
MOST_VERSIONS = 1000
MOST_CHARACTERS = 4 * 1024 * 1024
# The fixed cost of parsing and comparing a schema, in characters.
CHARACTERS_OF_PARSING = 200


class Baseline(msgspec.Struct, frozen=True):
    """What a new version is checked against: a level, and pairs of version number and schema id."""

    level: str
    versions: tuple[tuple[int, int], ...]

    def beyond(self, other: "Baseline | None") -> "Baseline":
        """Return this without the versions already checked under the same level."""
        if other is None or other.level != self.level:
            return self
        passed = set(other.versions)
        return Baseline(self.level, tuple(found for found in self.versions if found not in passed))


def baseline(subject: str) -> Baseline:
    level = configuration.effective_level(subject)
    if level == Level.NONE:
        return Baseline(level, ())
    latest_first = SubjectVersion.objects.of_subject(subject).order_by("-version").values_list("version", "schema_id")
    return Baseline(level, tuple(latest_first if level in compatibility.TRANSITIVE else latest_first[:1]))


def incompatibilities(text: str, dependencies: Sequence[str], baseline: Baseline) -> list[str]:
    """Return the ways in which the schema violates the level against these versions, at most MOST_MESSAGES.

    Raises SchemaTooLarge, and StorageUnavailable while other requests check large schemas.
    """
    if not baseline.versions or baseline.level == Level.NONE:
        return []
    if len(baseline.versions) > MOST_VERSIONS:
        raise _too_much(baseline, "")
    ids = [schema_id for _, schema_id in baseline.versions]
    graph = references.graph(ids)
    needs = {schema_id: graph.needs([schema_id]) for schema_id in ids}
    characters = _measure(baseline, needs)
    texts = references.texts(set(ids).union(*needs.values()))
    budget, found = compatibility.ComparisonBudget(), list[str]()
    with admission.admit(characters + sum(map(len, (text, *dependencies)))):
        new = schemas.with_avro(text, dependencies)
        for number, schema_id in baseline.versions:
            old = schemas.with_avro(texts[schema_id], references.distinct(texts[need] for need in needs[schema_id]))
            found += compatibility.check(new, old, baseline.level, f"version {number}", budget)
            if len(found) >= compatibility.MOST_MESSAGES:
                break
    return found[: compatibility.MOST_MESSAGES]


def _measure(baseline: Baseline, needs: dict[int, list[int]]) -> int:
    """Return the number of characters to parse. Raises SchemaTooLarge."""
    ids = set(needs).union(*needs.values())
    if len(ids) > MOST_VERSIONS + references.MOST_REACHED:
        raise _too_much(baseline, f", which refer to {len(ids)} schemas")
    lengths = dict(Schema.objects.filter(pk__in=ids).order_by().values_list("pk", Length("text")))
    parsed = (found for _, schema_id in baseline.versions for found in (schema_id, *needs[schema_id]))
    characters: int = sum(lengths[found] for found in parsed)
    if characters > MOST_CHARACTERS:
        raise _too_much(baseline, f" of {characters} characters")
    return characters + len(baseline.versions) * CHARACTERS_OF_PARSING


def _too_much(baseline: Baseline, what: str) -> errors.SchemaTooLarge:
    return errors.SchemaTooLarge(
        f"{baseline.level} compares with {len(baseline.versions)} versions{what}; at most {MOST_VERSIONS} versions and "
        f"{MOST_CHARACTERS} characters are allowed: delete old versions or choose a non-transitive level"
    )
