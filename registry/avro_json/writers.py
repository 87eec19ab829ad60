"""Compile nodes into closures that write JSON values as Avro binary."""

from collections import Counter

from registry.avro_json import containers, scalars
from registry.avro_json.binary import Budget, Writer
from registry.avro_json.choices import Choice
from registry.avro_json.defaults import Default
from registry.avro_json.kinds import Matching, kinds_of
from registry.avro_json.nodes import Array, Enum, Field, Fixed, Map, Node, Primitive, Record, Union
from registry.avro_json.unions import UnionWriter
from registry.avro_json.values import NOTHING


class Writers:
    """Compiles each node once for each way of matching, so that recursive types work."""

    def __init__(self, *, latin1_bytes: bool, ignore_unknown_fields: bool, most_bytes: int) -> None:
        self._latin1 = latin1_bytes
        self._ignore = ignore_unknown_fields
        self._compiled: dict[tuple[int, Matching], Writer] = {}
        self._defaults: dict[int, Default] = {}
        self._default_budget = Budget(most_bytes)
        self.unions: dict[int, UnionWriter] = {}

    def writer(self, node: Node, matching: Matching) -> Writer:
        known = self._compiled.get((id(node), matching))
        if known is None:
            known = self._compile(node, matching)
            self._compiled[id(node), matching] = known
        return known

    def settle_defaults(self) -> None:
        """Encode every default now, to reject a schema with an invalid one. Raises InvalidAvroSchema."""
        for default in list(self._defaults.values()):
            default()

    def _compile(self, node: Node, matching: Matching) -> Writer:
        match node:
            case Record():
                return self._record(node, matching)
            case Array():
                return containers.array(self.writer(node.items, matching))
            case Map():
                return containers.mapping(self.writer(node.values, matching))
            case Union():
                return self._union(node, matching)
            case Enum():
                return scalars.enumeration(node)
            case Fixed():
                return self._binary(node, matching)
            case Primitive():
                return self._primitive(node, matching)
        raise AssertionError(node)

    def _primitive(self, node: Primitive, matching: Matching) -> Writer:
        match node.tag:
            case "null":
                return scalars.write_null
            case "boolean":
                return scalars.write_boolean
            case "string":
                is_uuid = node.logical is not None and matching is not Matching.DEFAULT
                return scalars.write_uuid if is_uuid else scalars.write_string
            case "float" | "double":
                return scalars.floating(node, exact=matching is Matching.EXACT)
            case "bytes":
                return self._binary(node, matching)
        return scalars.integer(node, texts=matching is Matching.LENIENT)

    def _binary(self, node: Primitive | Fixed, matching: Matching) -> Writer:
        if matching is Matching.EXACT:
            return scalars.refusing(node)
        if matching is Matching.DEFAULT:
            return scalars.binary(node, None, latin1=True)
        return scalars.binary(node, node.logical, latin1=self._latin1)

    def _record(self, node: Record, matching: Matching) -> Writer:
        fields: list[containers.WrittenField] = []
        # Register the record before compiling its fields, because a field may have the same type.
        write = containers.record(node.tag, fields, ignore=self._ignore and matching is Matching.LENIENT)
        self._compiled[id(node), matching] = write
        for field in node.fields:
            fields.append((field.name, self.writer(field.node, matching), field.node, self._default(node, field)))
        return write

    def _default(self, record: Record, field: Field) -> Default | None:
        if field.default is NOTHING:
            return None
        if id(field) not in self._defaults:
            self._defaults[id(field)] = Default(
                f"{record.tag}.{field.name}",
                field.default,
                lambda: self.writer(field.node, Matching.DEFAULT),
                self._default_budget,
            )
        return self._defaults[id(field)]

    def _union(self, node: Union, matching: Matching) -> Writer:
        passes = (Matching.EXACT, Matching.LENIENT) if matching is Matching.LENIENT else (matching,)
        is_open = self._ignore and matching is Matching.LENIENT
        choices = [
            Choice(place, branch, self.writer(branch, matching), kinds_of(branch, matching), is_open)
            for place, branch in enumerate(node.branches)
        ]
        held = Counter(kind for choice in choices for kind in choice.kinds)
        contested = {kind for kind, count in held.items() if count > 1}
        trials = []
        for each in passes:
            trials += [
                choice if each is matching else choice.for_pass(self.writer(branch, each), kinds_of(branch, each))
                for choice, branch in zip(choices, node.branches, strict=True)
                if choice.kinds & contested
            ]
        union = UnionWriter(str(node), choices, trials, tagged=matching is not Matching.DEFAULT)
        if matching is Matching.LENIENT:
            self.unions[id(node)] = union
        return union.write
