"""Compile nodes into closures that write JSON values as Avro binary."""

from collections import Counter

from registry.avro_json import containers, scalars
from registry.avro_json.binary import Budget, Writer
from registry.avro_json.choices import Choice
from registry.avro_json.defaults import Default
from registry.avro_json.kinds import Mode, kinds_of
from registry.avro_json.nodes import Array, Enum, Field, Fixed, Map, Node, Primitive, Record, Union
from registry.avro_json.unions import UnionWriter
from registry.avro_json.values import NOTHING


class Writers:
    """Compiles each node once per mode, so that recursive types work."""

    def __init__(self, *, latin1_bytes: bool, ignore_unknown_fields: bool, most_bytes: int) -> None:
        self._latin1 = latin1_bytes
        self._ignore = ignore_unknown_fields
        self._compiled: dict[tuple[int, Mode], Writer] = {}
        self._defaults: dict[int, Default] = {}
        self._default_budget = Budget(most_bytes)
        self.unions: dict[int, UnionWriter] = {}

    def of(self, node: Node, mode: Mode) -> Writer:
        known = self._compiled.get((id(node), mode))
        if known is None:
            known = self._compile(node, mode)
            self._compiled[id(node), mode] = known
        return known

    def settle_defaults(self) -> None:
        """Encode every default now, to reject a schema with an invalid one. Raises InvalidAvroSchema."""
        for default in list(self._defaults.values()):
            default()

    def _compile(self, node: Node, mode: Mode) -> Writer:
        match node:
            case Record():
                return self._record(node, mode)
            case Array():
                return containers.array(self.of(node.items, mode))
            case Map():
                return containers.mapping(self.of(node.values, mode))
            case Union():
                return self._union(node, mode)
            case Enum():
                return scalars.enumeration(node)
            case Fixed():
                return self._binary(node, mode)
            case Primitive():
                return self._primitive(node, mode)
        raise AssertionError(node)

    def _primitive(self, node: Primitive, mode: Mode) -> Writer:
        match node.tag:
            case "null":
                return scalars.write_null
            case "boolean":
                return scalars.write_boolean
            case "string":
                is_uuid = node.logical is not None and mode is not Mode.DEFAULT
                return scalars.write_uuid if is_uuid else scalars.write_string
            case "float" | "double":
                return scalars.floating(node, exact=mode is Mode.EXACT)
            case "bytes":
                return self._binary(node, mode)
        return scalars.integer(node, texts=mode is Mode.LENIENT)

    def _binary(self, node: Primitive | Fixed, mode: Mode) -> Writer:
        if mode is Mode.EXACT:
            return scalars.refusing(node)
        if mode is Mode.DEFAULT:
            return scalars.binary(node, None, latin1=True)
        return scalars.binary(node, node.logical, latin1=self._latin1)

    def _record(self, node: Record, mode: Mode) -> Writer:
        fields: list[containers.WrittenField] = []
        # Register the record before compiling its fields, because a field may have the same type.
        write = containers.record(node.tag, fields, ignore=self._ignore and mode is Mode.LENIENT)
        self._compiled[id(node), mode] = write
        for field in node.fields:
            fields.append((field.name, self.of(field.node, mode), field.node, self._default(node, field)))
        return write

    def _default(self, record: Record, field: Field) -> Default | None:
        if field.default is NOTHING:
            return None
        if id(field) not in self._defaults:
            self._defaults[id(field)] = Default(
                f"{record.tag}.{field.name}",
                field.default,
                lambda: self.of(field.node, Mode.DEFAULT),
                self._default_budget,
            )
        return self._defaults[id(field)]

    def _union(self, node: Union, mode: Mode) -> Writer:
        passes = (Mode.EXACT, Mode.LENIENT) if mode is Mode.LENIENT else (mode,)
        is_open = self._ignore and mode is Mode.LENIENT
        choices = [
            Choice(place, branch, self.of(branch, mode), kinds_of(branch, mode), is_open)
            for place, branch in enumerate(node.branches)
        ]
        held = Counter(kind for choice in choices for kind in choice.kinds)
        contested = {kind for kind, count in held.items() if count > 1}
        trials = []
        for each in passes:
            trials += [
                choice if each is mode else choice.of(self.of(branch, each), kinds_of(branch, each))
                for choice, branch in zip(choices, node.branches, strict=True)
                if choice.kinds & contested
            ]
        union = UnionWriter(str(node), choices, trials, tagged=mode is not Mode.DEFAULT)
        if mode is Mode.LENIENT:
            self.unions[id(node)] = union
        return union.write
