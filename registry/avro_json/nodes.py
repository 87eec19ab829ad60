"""The nodes of a parsed schema."""

from dataclasses import dataclass, field

from registry.avro_json.values import NOTHING


@dataclass(frozen=True, slots=True)
class Logical:
    """A valid logical type."""

    name: str
    precision: int = 0
    scale: int = 0

    def __str__(self) -> str:
        return f"decimal({self.precision},{self.scale})" if self.name == "decimal" else self.name


@dataclass(slots=True, eq=False)
class Node:
    """A type. `tag` names it in a union's tag and in messages: its full name, or its kind if it has no name."""

    tag: str


@dataclass(slots=True, eq=False)
class Primitive(Node):
    logical: Logical | None = None


@dataclass(slots=True, eq=False)
class Fixed(Node):
    size: int = 0
    logical: Logical | None = None


@dataclass(slots=True, eq=False)
class Enum(Node):
    symbols: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Field:
    """A record's field. `default` is NOTHING if there is none, because None is a valid default."""

    name: str
    node: Node
    default: object = NOTHING


@dataclass(slots=True, eq=False)
class Record(Node):
    fields: list[Field] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Array(Node):
    items: Node


@dataclass(slots=True, eq=False)
class Map(Node):
    values: Node


@dataclass(slots=True, eq=False)
class Union(Node):
    branches: tuple[Node, ...] = ()

    def __str__(self) -> str:
        names = [label(branch) for branch in self.branches[:8]]
        if len(names) < len(self.branches):
            return f"{', '.join(names)}, …"
        return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def label(node: Node) -> str:
    """Return the name of the expected type for a message."""
    if isinstance(node, Union):
        return str(node)
    if isinstance(node, Primitive | Fixed) and node.logical is not None:
        return str(node.logical)
    return node.tag
