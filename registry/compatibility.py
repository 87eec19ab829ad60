"""Judge whether one schema reads what another wrote, by the Apache `avro` package's rules, and say where not."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from avro.compatibility import (
    ReaderWriterCompatibilityChecker,
    SchemaCompatibilityResult,
    SchemaCompatibilityType,
    SchemaIncompatibilityType,
    incompatible,
    merge,
)
from avro.schema import Schema

from registry.models import Level
from registry.schemas import LOGICAL

BACKWARD = (Level.BACKWARD, Level.BACKWARD_TRANSITIVE, Level.FULL, Level.FULL_TRANSITIVE)
FORWARD = (Level.FORWARD, Level.FORWARD_TRANSITIVE, Level.FULL, Level.FULL_TRANSITIVE)
TRANSITIVE = (Level.BACKWARD_TRANSITIVE, Level.FORWARD_TRANSITIVE, Level.FULL_TRANSITIVE)


def check(new: Schema, old: Schema, level: str, old_name: str = "the earlier schema") -> list[str]:
    """What the level forbids in this change, in sentences; empty when it is compatible."""
    found: list[str] = []
    if level in BACKWARD:
        found += [f"the new schema cannot read records of {old_name}: {reason}" for reason in unreadable(new, old)]
    if level in FORWARD:
        found += [f"{old_name} cannot read records of the new schema: {reason}" for reason in unreadable(old, new)]
    return found


def unreadable(reader: Schema, writer: Schema) -> list[str]:
    """Why `reader` cannot read what `writer` wrote."""
    result = _Checker().get_compatibility(reader, writer)
    return [] if _reads(result) else sorted(result.messages)


def _reads(result: SchemaCompatibilityResult) -> bool:
    return result.compatibility is SchemaCompatibilityType.compatible


class _Checker(ReaderWriterCompatibilityChecker):  # type: ignore[misc]
    """The package's rules, the decimal rule that it lacks, and each message with the path to its place."""

    def get_compatibility(
        self,
        reader: Schema,
        writer: Schema,
        reference_token: str = "/",  # noqa: S107 (a place in a schema)
        location: list[str] | None = None,
    ) -> SchemaCompatibilityResult:
        result: SchemaCompatibilityResult = super().get_compatibility(reader, writer, reference_token, location)
        return result if reference_token not in ("items", "values") else _under(reference_token, result)

    def calculate_compatibility(self, reader: Schema, writer: Schema, location: list[str]) -> SchemaCompatibilityResult:
        result: SchemaCompatibilityResult = super().calculate_compatibility(reader, writer, location)
        if reader.type == writer.type == "union" and not _reads(result):
            return self._lacking_branches(reader, writer, location)
        if reader.type == writer.type == "enum" and not _reads(result):
            return _reworded(result, _enum_messages(reader, writer))
        if reader.type == writer.type and reader.type in ("record", "fixed") and not _reads(result):
            expected = f"expected: {writer.fullname}"
            renamed = f"{reader.type} {reader.fullname} is not {writer.fullname}, nor has it that alias"
            result = _reworded(result, {renamed if text == expected else text for text in result.messages})
        if _is_decimal(reader) and _is_decimal(writer) and _decimal(reader) != _decimal(writer):
            message = f"{_decimal(reader)} cannot read {_decimal(writer)}"
            return merge(result, incompatible(SchemaIncompatibilityType.type_mismatch, message, location))
        return result

    def check_reader_writer_record_fields(
        self, reader: Schema, writer: Schema, location: list[str]
    ) -> SchemaCompatibilityResult:
        result = SchemaCompatibilityResult(SchemaCompatibilityType.compatible)
        for field in reader.fields:
            # The package is asked field by field, so that a message can be given its field's name.
            single: Any = SimpleNamespace(fields=[field])
            found = super().check_reader_writer_record_fields(single, writer, location)
            if found.incompatibilities == [SchemaIncompatibilityType.reader_field_missing_default_value]:
                text = f"field {field.name} is not in {writer.fullname} and has no default"
                found = _reworded(found, {text})
            else:
                found = _under(field.name, found)
            result = merge(result, found)
        return result

    def _lacking_branches(self, reader: Schema, writer: Schema, location: list[str]) -> SchemaCompatibilityResult:
        """The branches that the reader lacks, by name; within a branch of the same name, why it does not fit."""
        messages: set[str] = set()
        for branch in writer.schemas:
            if _reads(self.get_compatibility(reader, branch)):
                continue
            same = [own for own in reader.schemas if _shown(own) == _shown(branch)]
            nested = self.get_compatibility(same[0], branch).messages if same else set()
            messages |= {f"{_shown(branch)}: {text}" for text in nested} or {f"the union has no {_shown(branch)}"}
        return _reworded(incompatible(SchemaIncompatibilityType.missing_union_branch, "", location), messages)


def _under(place: str, result: SchemaCompatibilityResult) -> SchemaCompatibilityResult:
    return _reworded(result, {f"{place}: {text}" for text in result.messages})


def _reworded(result: SchemaCompatibilityResult, messages: set[str]) -> SchemaCompatibilityResult:
    return SchemaCompatibilityResult(result.compatibility, result.incompatibilities, messages, result.locations)


def _enum_messages(reader: Schema, writer: Schema) -> set[str]:
    lacking = [symbol for symbol in writer.symbols if symbol not in reader.symbols]
    if not lacking or reader.name != writer.name:
        return {f"enum {reader.fullname} is not {writer.fullname}, nor has it that alias"}
    return {f"enum {reader.fullname} lacks {', '.join(lacking)} and has no default"}


def _shown(schema: Schema) -> str:
    name: str = getattr(schema, "fullname", schema.type)
    return name


def _is_decimal(schema: Schema) -> bool:
    return bool(schema.props.get(LOGICAL) == "decimal")


def _decimal(schema: Schema) -> str:
    return f"decimal({schema.props.get('precision')}, {schema.props.get('scale') or 0})"


def to_judge(versions: Sequence[int], level: str) -> list[int]:
    """Which of a subject's version numbers a new schema is judged against, latest first."""
    latest_first = sorted(versions, reverse=True)
    if level == Level.NONE:
        return []
    return latest_first if level in TRANSITIVE else latest_first[:1]
