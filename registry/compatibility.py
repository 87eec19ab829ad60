"""Check whether one schema can read data written with another, using the rules of the Apache `avro` package."""

from collections.abc import Iterable, Sequence
from typing import Any

from avro.compatibility import (
    PRIMITIVE_TYPES,
    ReaderWriterCompatibilityChecker,
    SchemaCompatibilityResult,
    SchemaCompatibilityType,
)
from avro.schema import Field, Schema

from registry import errors
from registry.models import Level
from registry.schemas import LOGICAL

BACKWARD = (Level.BACKWARD, Level.BACKWARD_TRANSITIVE, Level.FULL, Level.FULL_TRANSITIVE)
FORWARD = (Level.FORWARD, Level.FORWARD_TRANSITIVE, Level.FULL, Level.FULL_TRANSITIVE)
TRANSITIVE = (Level.BACKWARD_TRANSITIVE, Level.FORWARD_TRANSITIVE, Level.FULL_TRANSITIVE)
RECORDS = ("record", "error")
NAMED = (*RECORDS, "enum", "fixed")
# A reason is reported for every place that uses a type, so the number can double with each level of nesting.
MOST_MESSAGES = 100
MOST_CHARACTERS = 500
# The limit for one schema against all versions it is checked against, in both directions. 1 MiB of nested records
# takes 100,000 comparisons. The slowest case, a union of same-named records with many fields, takes 5 s at the limit.
MOST_COMPARISONS = 500_000
COMPATIBLE = SchemaCompatibilityResult(SchemaCompatibilityType.compatible)


class ComparisonBudget:
    """The number of type pairs that one request may still compare."""

    def __init__(self) -> None:
        self.left = MOST_COMPARISONS

    def spend(self) -> None:
        """Raises SchemaTooLarge."""
        self.left -= 1
        if self.left < 0:
            raise errors.SchemaTooLarge(
                f"checking compatibility with earlier versions takes more than {MOST_COMPARISONS} type comparisons"
            )


def check(new: Schema, old: Schema, level: str, old_name: str, budget: ComparisonBudget) -> list[str]:
    """Return the violations of the level, at most MOST_MESSAGES per direction; empty if the schemas are compatible.

    Raises SchemaTooLarge.
    """
    found: list[str] = []
    if level in BACKWARD:
        reasons = unreadable(new, old, budget)
        found += [f"the new schema cannot read records written with {old_name}: {reason}" for reason in reasons]
    if level in FORWARD:
        reasons = unreadable(old, new, budget)
        found += [f"{old_name} cannot read records written with the new schema: {reason}" for reason in reasons]
    return found


def unreadable(reader: Schema, writer: Schema, budget: ComparisonBudget) -> list[str]:
    """Return the reasons why `reader` cannot read data written with `writer`. Raises SchemaTooLarge."""
    try:
        result = _Checker(budget).get_compatibility(reader, writer)
    except RecursionError:
        raise errors.SchemaTooLarge("the schemas are nested too deeply to compare") from None
    return [] if _reads(result) else sorted(result.messages)


class _Checker(ReaderWriterCompatibilityChecker):  # type: ignore[misc]
    """The package's rules plus the decimal rule it lacks; every message includes the path to its location.

    The work is bounded where the package's is not: the package compares a record with every record of a union, builds a
    dictionary for every field it looks up, and repeats all messages of a type at each of its uses.
    """

    def __init__(self, budget: ComparisonBudget) -> None:
        super().__init__()
        self._budget = budget
        self._found: dict[tuple[int, int], SchemaCompatibilityResult] = {}
        self._fields: dict[int, dict[str, Field]] = {}
        self._aliases: dict[int, frozenset[str]] = {}
        self._branches: dict[int, dict[str, list[Schema]]] = {}

    def get_compatibility(
        self, reader: Schema, writer: Schema, reference_token: str = "", location: list[str] | None = None
    ) -> SchemaCompatibilityResult:
        self._budget.spend()
        if reader.type == writer.type and reader.type in PRIMITIVE_TYPES and LOGICAL not in reader.props:
            return COMPATIBLE
        pair = (id(reader), id(writer))
        result = self._found.get(pair)
        if result is None:
            # A recursive use of this pair is compatible if the rest of the type is.
            self._found[pair] = COMPATIBLE
            result = self._found[pair] = self.calculate_compatibility(reader, writer, [])
        return _under(reference_token, result) if reference_token in ("items", "values") else result

    def calculate_compatibility(self, reader: Schema, writer: Schema, location: list[str]) -> SchemaCompatibilityResult:
        if writer.type == "union":
            return self._reads_every_branch(reader, writer)
        if reader.type == "union":
            return self._has_branch(reader, writer)
        is_record = reader.type in RECORDS and writer.type in RECORDS
        is_named = is_record or (reader.type == writer.type and reader.type in NAMED)
        if is_named and not self._is_named_alike(reader, writer):
            return _refused([f"{reader.type} {reader.fullname} does not match {writer.fullname} by name or alias"])
        if is_record:
            return self.check_reader_writer_record_fields(reader, writer, location)
        result: SchemaCompatibilityResult = super().calculate_compatibility(reader, writer, location)
        if reader.type == writer.type == "enum" and not _reads(result):
            lacking = set(writer.symbols).difference(reader.symbols)
            symbols = ", ".join(symbol for symbol in writer.symbols if symbol in lacking)
            return _refused([f"enum {reader.fullname} is missing {symbols} and has no default"])
        if _is_decimal(reader) and _is_decimal(writer) and _decimal(reader) != _decimal(writer):
            return _refused([*result.messages, f"{_decimal(reader)} cannot read {_decimal(writer)}"])
        return result

    def check_reader_writer_record_fields(
        self, reader: Schema, writer: Schema, location: list[str]
    ) -> SchemaCompatibilityResult:
        messages: list[str] = []
        for field in reader.fields:
            written = self._written(field, writer)
            if written is not None:
                messages += _under(field.name, self.get_compatibility(field.type, written.type)).messages
            elif not field.has_default:
                messages.append(f"field {field.name} is not in {writer.fullname} and has no default")
            if len(messages) >= MOST_MESSAGES:
                break
        return _refused(messages) if messages else COMPATIBLE

    def _reads_every_branch(self, reader: Schema, writer: Schema) -> SchemaCompatibilityResult:
        """Report the branches missing from the union; for a branch of the same name, report why it does not match."""
        messages: list[str] = []
        own = {_shown(branch): branch for branch in reader.schemas} if reader.type == "union" else {}
        for branch in writer.schemas:
            result = self.get_compatibility(reader, branch)
            if _reads(result):
                continue
            if reader.type != "union":
                messages += result.messages
            elif (same := own.get(_shown(branch))) is not None and not _reads(self.get_compatibility(same, branch)):
                messages += _under(_shown(branch), self.get_compatibility(same, branch)).messages
            else:
                messages.append(f"the union has no {_shown(branch)}")
            if len(messages) >= MOST_MESSAGES:
                break
        return _refused(messages) if messages else COMPATIBLE

    def _has_branch(self, reader: Schema, writer: Schema) -> SchemaCompatibilityResult:
        for branch in self._candidates(reader, writer):
            if _reads(self.get_compatibility(branch, writer)):
                return COMPATIBLE
        return _refused([f"reader union lacking writer type {writer.type}"])

    def _candidates(self, union: Schema, writer: Schema) -> Iterable[Schema]:
        """Return the branches that may match: unnamed ones for an unnamed type, else those with its name or alias."""
        by_name = self._branches.get(id(union))
        if by_name is None:
            by_name = self._branches[id(union)] = {}
            for branch in union.schemas:
                names = {branch.name, *self._aliases_of(branch)} if branch.type in NAMED else {""}
                for name in names:
                    by_name.setdefault(name, []).append(branch)
        if writer.type not in NAMED:
            return by_name.get("", ())
        return [*by_name.get(writer.name, ()), *by_name.get(writer.fullname, ())]

    def _is_named_alike(self, reader: Schema, writer: Schema) -> bool:
        """Compare unqualified names and aliases, as Java's SchemaCompatibility does."""
        return bool(reader.name == writer.name) or writer.fullname in self._aliases_of(reader)

    def _aliases_of(self, schema: Schema) -> frozenset[str]:
        """Return the aliases as full names: an alias without dots is in its schema's own namespace."""
        found = self._aliases.get(id(schema))
        if found is None:
            given = schema.props.get("aliases")
            space, _, _ = schema.fullname.rpartition(".")
            names = [alias for alias in given if isinstance(alias, str)] if isinstance(given, list) else []
            full = (f"{space}.{alias}" if space and "." not in alias else alias for alias in names)
            found = self._aliases[id(schema)] = frozenset(full)
        return found

    def _written(self, field: Field, writer: Schema) -> Field | None:
        """Return the writer's field that matches this field by name or alias."""
        fields = self._fields.get(id(writer))
        if fields is None:
            fields = self._fields[id(writer)] = writer.fields_dict
        aliases = field.props.get("aliases")
        names = [field.name, *(aliases if isinstance(aliases, list) else ())]
        return next((fields[name] for name in names if isinstance(name, str) and name in fields), None)


def _reads(result: SchemaCompatibilityResult) -> bool:
    return result.compatibility is SchemaCompatibilityType.compatible


def _refused(messages: Sequence[str]) -> SchemaCompatibilityResult:
    kept = {_shortened(text) for text in messages[:MOST_MESSAGES]}
    return SchemaCompatibilityResult(SchemaCompatibilityType.incompatible, messages=kept)


def _under(place: str, result: SchemaCompatibilityResult) -> SchemaCompatibilityResult:
    return result if _reads(result) else _refused([f"{place}: {text}" for text in sorted(result.messages)])


def _shortened(text: str) -> str:
    """Keep the start of the path and the end of the reason if the text is long."""
    half = MOST_CHARACTERS // 2
    return text if len(text) <= MOST_CHARACTERS else f"{text[:half]} … {text[-half:]}"


def _shown(schema: Schema) -> str:
    name: str = getattr(schema, "fullname", schema.type)
    return name


def _is_decimal(schema: Schema) -> bool:
    return bool(schema.props.get(LOGICAL) == "decimal")


def _decimal(schema: Any) -> str:
    return f"decimal({schema.props.get('precision')}, {schema.props.get('scale') or 0})"
