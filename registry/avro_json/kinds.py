"""Define which kinds of JSON values each type accepts."""

import enum
from types import NoneType

from registry.avro_json.nodes import Array, Enum, Fixed, Map, Node, Primitive, Record
from registry.avro_json.values import NumberText


class Matching(enum.Enum):
    """How JSON values match a type.

    LENIENT accepts every supported form. EXACT, a union's first pass, accepts only JSON's own types, without conversion
    and without unknown fields. DEFAULT is for the schema's defaults: bytes as Latin-1, no logical types, no tags.
    """

    LENIENT = enum.auto()
    EXACT = enum.auto()
    DEFAULT = enum.auto()


Kinds = frozenset[type]
# Decoded JSON has the text of a number; our own reader returns floats.
FRACTIONS: Kinds = frozenset({NumberText, float})
SIMPLE: dict[str, Kinds] = {"null": frozenset({NoneType}), "boolean": frozenset({bool}), "string": frozenset({str})}


def kinds_of(node: Node, matching: Matching) -> Kinds:
    match node:
        case Record() | Map():
            return frozenset({dict})
        case Array():
            return frozenset({list})
        case Enum():
            return frozenset({str})
        case Primitive("float" | "double"):
            return FRACTIONS if matching is Matching.EXACT else FRACTIONS | {int, str}
        case Primitive("int" | "long"):
            return frozenset({int, str} if matching is Matching.LENIENT and node.logical else {int})
        case Fixed() | Primitive("bytes"):
            return _kinds_of_binary(node, matching)
    return SIMPLE[node.tag]


def _kinds_of_binary(node: Fixed | Primitive, matching: Matching) -> Kinds:
    if matching is Matching.EXACT:
        return frozenset()
    if matching is Matching.LENIENT and node.logical is not None:
        if node.logical.name == "decimal":
            return FRACTIONS | {int, str}
        if node.logical.name == "duration":
            return frozenset({str, dict})
    return frozenset({str})
